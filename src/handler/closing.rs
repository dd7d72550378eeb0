//! Closing at the handler's request: the protocol says its last words at once, and the reactor does the rest after the
//! callback.

use super::conn::Conn;
use crate::connection::Draining;
use crate::connection::close_reason::Cause;
use crate::io::output::Packed;
use crate::protocol::{Encode, Farewell, Parting, Protocol};

impl<P: Protocol> Conn<'_, P> {
    /// Ends the connection in order: pending output is flushed, our end of stream is sent, and the peer's is awaited, within
    /// [`Listen::close_timeout`](crate::Listen::close_timeout). No further message is delivered, and
    /// [`Handler::on_close`](crate::Handler::on_close) follows when the callback has returned, without waiting for the peer.
    ///
    /// [Sources](Self::send_from) go on: all that they send leaves before, and the close, with its `on_close`, begins behind them.
    /// [`abort`](Self::abort) does not wait. The close timeout begins anew whenever one of them has
    /// sent something and the peer has taken it, and runs behind them.
    ///
    /// A protocol with last words (a close frame) says them behind everything that was sent, and awaits the peer's answer to
    /// them before the end of stream.
    pub fn close(&mut self) {
        self.pack_own_mail();
        if self.connection.life.is_parting() {
            return;
        }
        if self.connection.sources() > 0 {
            return self.connection.finish();
        }
        if !self.connection.life.accepts_sends() {
            return self.connection.close(Cause::Local);
        }
        let why = match self.connection.draining {
            _ if self.connection.life.peer_has_ended() => Farewell::PeerEnded,
            Draining::No => Farewell::Closed,
            _ => Farewell::Shutdown,
        };
        let output = &mut self.connection.output;
        output.begin_last_words();
        let parting = self.encoder.farewell(why, output);
        match output.finish() {
            Packed::Whole if parting == Parting::AwaitAnswer && why != Farewell::PeerEnded => {
                self.connection.part(Cause::Local);
                self.state.queue(self.connection);
            }
            // The peer must not take an end without the last words for an orderly one.
            Packed::Torn | Packed::Overflowed if !output.has_failed() => {
                self.connection.abort(Cause::OutputLimit);
            }
            _ => self.connection.close_concluded(Cause::Local),
        }
    }

    /// Ends the connection at once with a reset. Pending output is lost. A Unix socket has no reset: its peer may see a clean end.
    pub fn abort(&mut self) {
        self.connection.abort(Cause::Aborted);
    }

    /// Sends our end of stream once all pending output has left, and all that [sources](Self::send_from) send. Messages still
    /// arrive; nothing more can be sent.
    ///
    /// The connection ends with the peer's end of stream. Of the protocols of this crate only WebSocket sets a time for it;
    /// with the others [`Listen::idle_timeout`](crate::Listen::idle_timeout) and
    /// [`set_idle_timeout`](Self::set_idle_timeout) catch a peer that is silent from now on.
    pub fn shutdown_write(&mut self) {
        self.pack_own_mail();
        if self.connection.life.accepts_sends() {
            self.connection.life.request_end();
            self.encoder.end_stream(self.state.now);
        }
    }
}
