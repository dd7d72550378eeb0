//! Code that runs on a worker learns which one it is.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ringwheel::protocol::Lines;
use ringwheel::{Address, Conn, Handler, Server, current_worker};
use support::{TestServer, listen, take};

#[test]
fn the_current_worker_is_known_in_hooks_factories_tasks_and_drops() {
    let (told, worker) = channel();
    let tell = {
        let told = Arc::new(Mutex::new(told));
        move |place: &'static str| {
            let told = told.lock().unwrap();
            told.send((place, current_worker())).unwrap();
        }
    };
    struct TellsOfDrop<F: Fn(&'static str) + 'static>(F);
    impl<F: Fn(&'static str) + 'static> Handler for TellsOfDrop<F> {
        type Protocol = Lines;
        type Session = ();
        fn on_open(&mut self, _conn: &mut Conn<'_, Lines>) {}
        fn on_message(&mut self, _conn: &mut Conn<'_, Lines>, _session: &mut (), _line: &str) {}
    }
    impl<F: Fn(&'static str) + 'static> Drop for TellsOfDrop<F> {
        fn drop(&mut self) {
            (self.0)("drop");
        }
    }
    let (in_hook, in_factory, in_task) = (tell.clone(), tell.clone(), tell.clone());
    let pick = move |_: &Address, _: ringwheel::balance::Workers<'_>| {
        tell("balancer");
        0
    };
    let builder = Server::builder()
        .workers(2)
        .balance(pick)
        .on_worker_start(move |index| {
            assert_eq!(current_worker(), Some(index));
            in_hook("hook");
        })
        .listen_with_factory(listen(Lines::new()), move |start| {
            assert_eq!(current_worker(), Some(start.index()));
            TellsOfDrop(in_factory.clone())
        })
        .unwrap();
    let server = TestServer::spawn(builder);
    let mut hooks = [take(&worker), take(&worker)];
    hooks.sort_unstable();
    assert_eq!(hooks, [("hook", Some(0)), ("hook", Some(1))]);
    server
        .handle()
        .run_after(Duration::ZERO, move || in_task("task"));
    assert_eq!(take(&worker), ("task", Some(0)));
    let client = server.connect();
    assert_eq!(take(&worker), ("balancer", None), "it runs on the acceptor");
    drop(client);
    server.handle().stop();
    server.join();
    let mut drops = [take(&worker), take(&worker)];
    drops.sort_unstable();
    assert_eq!(drops, [("drop", Some(0)), ("drop", Some(1))]);
}
