package peer

import "time"

// The shortest and the longest that a timer lasts.
const (
	shortestTimer = 5 * time.Second
	longestTimer  = 65 * time.Second
)

// TimerDurations spreads n durations evenly from 5 to 65 seconds.
func TimerDurations(n int) []time.Duration {
	lasts := make([]time.Duration, max(n, 0))
	for i := range lasts {
		lasts[i] = shortestTimer + time.Duration(i)*(longestTimer-shortestTimer)/time.Duration(max(n-1, 1))
	}
	return lasts
}

// KeepTimers runs one timer for each duration, without end: each calls fired with its place and is set again.
func KeepTimers(lasts []time.Duration, fired func(place int)) {
	// A timer may fire before time.AfterFunc has returned it; the gate opens when all are known.
	gate := make(chan struct{})
	timers := make([]*time.Timer, len(lasts))
	for place, lasting := range lasts {
		timers[place] = time.AfterFunc(lasting, func() {
			<-gate
			fired(place)
			timers[place].Reset(lasting)
		})
	}
	close(gate)
}
