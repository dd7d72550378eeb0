package peer

import (
	"testing"
	"time"
)

func TestTimersLastFrom5To65SecondsEvenlySpread(t *testing.T) {
	lasts := TimerDurations(61)
	for i, lasting := range lasts {
		if want := time.Duration(5+i) * time.Second; lasting != want {
			t.Errorf("timer %d of 61 lasts %v, not %v", i, lasting, want)
		}
	}
	if one := TimerDurations(1); len(one) != 1 || one[0] != 5*time.Second {
		t.Errorf("one timer: %v", one)
	}
	if none := TimerDurations(0); len(none) != 0 {
		t.Errorf("no timer: %v", none)
	}
}

func TestATimerIsSetAgainWhenItFires(t *testing.T) {
	const timers, rounds = 3, 4
	done := make(chan int)
	counts := [timers]int{} // each entry is touched by its own timer only, which does not run beside itself
	KeepTimers([]time.Duration{0, time.Millisecond, 2 * time.Millisecond}, func(place int) {
		if counts[place]++; counts[place] == rounds {
			done <- place
		}
	})
	deadline := time.After(10 * time.Second)
	for range timers {
		select {
		case <-done:
		case <-deadline:
			t.Fatal("not every timer was set again")
		}
	}
}
