//! A game: players walk along a line, and 30 times a second everybody is told where all are.
//!
//! Run `cargo run --release --example game_tick` and send `1` or `-1` in `wsring connect ws://127.0.0.1:9001/`. Inputs change the world
//! as they come, and whoever plays is told at the tick: all that is sent waits for it, so a tick is one send and one segment for each
//! player, however many inputs there were. A player who reads slowly gets the newest tick, not all that it missed.

use std::time::Duration;

use wsring::{
    Config, CoreCx, CoreInfo, Cx, Delivery, Error, Flush, Handler, Message, Opening, Server, Tick, TopicId, Verdict,
};

/// The world, which all players follow. Where each is, its connection keeps.
pub struct Game {
    world: TopicId,
}

impl Game {
    /// Of one core, as that tells it.
    pub fn new(core: &CoreInfo) -> Self {
        Self { world: core.handle.topic("world").expect("it is the only topic") }
    }
}

impl Handler for Game {
    type Conn = i64;
    type Mail = ();

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, _: &Opening<'_>) -> Verdict<i64> {
        Verdict::accept(0)
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let _ = cx.subscribe(self.world, Delivery::conflate()); // its first: there is room
    }

    /// An input: nobody is told before the tick.
    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let step = message.as_text().and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        *cx.data() += step.signum();
    }

    fn on_tick(&mut self, cx: &mut CoreCx<'_, Self>, tick: Tick) {
        let (number, late, mut places) = (tick.number, tick.late.as_micros(), Vec::new());
        cx.for_each(|player| places.push(*player.data()));
        cx.publish(self.world, format!(r#"{{"tick":{number},"late_us":{late},"places":{places:?}}}"#).as_str());
    }
}

fn main() -> Result<(), Error> {
    serve("127.0.0.1:9001", 0)
}

/// As it runs, and as `tests/testing/examples.rs` tests it without a socket.
pub fn config() -> Config {
    Config::default().tick(Duration::from_secs(1) / 30).flush(Flush::AtTick).socket_unsent_bytes(16 << 10)
}

/// Serves on one core until Ctrl-C.
pub fn serve(addr: &str, cpu: usize) -> Result<(), Error> {
    let server = Server::bind(addr)?.cores([cpu]).config(config());
    println!("a game on ws://{}/", server.local_addrs()?[0]);
    server.run(|core| Game::new(&core)).map(drop)
}
