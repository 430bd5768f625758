//! `--demo game`: players on `/game?name=N` send inputs whenever they like, and are told of the world once a tick.
//!
//! Promises that a tick is one message in one send for each player, whatever else it is told: all that is sent waits for the tick
//! ([`Flush::AtTick`]), and a tick fits in a send block. A player who does not keep up gets the newest tick. Refuses to know who is told of
//! in a tick: see `world`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use wsring::http::StatusCode;
use wsring::{
    CloseCode, CloseReason, Config, ConnId, CoreCx, Cx, Delivery, Flush, Handler, Message, Opening, Response, Tick,
    TopicId, Verdict,
};

use self::world::World;
use super::{fault, name};
use crate::pages;

mod world;

/// The longest input, as JSON.
const INPUT_MAX: usize = 128;

/// What a socket takes beyond what it has sent: ticks grow old there.
const UNSENT_BYTES: u32 = 16 << 10;

/// The settings of a game with so many ticks a second.
pub(crate) fn config(config: Config, hz: u32) -> Config {
    config.tick(Duration::from_secs(1) / hz).flush(Flush::AtTick).socket_unsent_bytes(UNSENT_BYTES)
}

/// The one core's handler.
pub(crate) struct Game {
    world: World,
    /// Ticks; there is one once the core has started.
    ticks: Option<TopicId>,
    text: String,
}

/// A connection's player.
pub(crate) struct Player {
    name: String,
    /// In the world; `None` if the name was taken.
    id: Option<u32>,
}

/// What a client sends.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    #[serde(borrow)]
    input: &'a RawValue,
}

impl Game {
    pub(crate) fn new() -> Self {
        Self { world: World::default(), ticks: None, text: String::new() }
    }
}

impl Handler for Game {
    type Conn = Player;
    type Mail = ();

    fn on_start(&mut self, cx: &mut CoreCx<'_, Self>) {
        self.ticks = cx.topic("ticks").ok();
    }

    fn on_upgrade(&mut self, _: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<Player> {
        match (opening.request.path(), name::name_in(opening.request.query())) {
            ("/game", Some(name)) => Verdict::accept(Player { name: name.to_owned(), id: None }),
            ("/game", None) => Verdict::reject_status(StatusCode::BAD_REQUEST),
            _ => Verdict::reject_status(StatusCode::NOT_FOUND),
        }
    }

    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        pages::answer(opening, cx.is_draining(), "a game: connect to /game?name=N with ws://\n")
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let (player, mut conn) = cx.split();
        player.id = self.world.join(&player.name);
        let subscribed = self.ticks.map(|ticks| conn.subscribe(ticks, Delivery::conflate()));
        if player.id.is_none() || !matches!(subscribed, Some(Ok(_))) {
            conn.close(CloseCode::POLICY, "the name is taken");
        }
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let Message::Text(text) = message else { return fault::tell(cx, "an input is text") };
        match serde_json::from_str::<Wire<'_>>(text) {
            Err(error) => fault::tell(cx, &error.to_string()),
            Ok(Wire { input }) if input.get().len() > INPUT_MAX => {
                fault::tell(cx, &format!("an input is at most {INPUT_MAX} bytes"));
            }
            Ok(Wire { input }) => {
                if let Some(id) = cx.data().id {
                    self.world.input(id, input.get());
                }
            }
        }
    }

    fn on_tick(&mut self, cx: &mut CoreCx<'_, Self>, tick: Tick) {
        self.world.tell(tick.number, tick.late.as_micros(), &mut self.text);
        if let Some(ticks) = self.ticks {
            cx.publish(ticks, self.text.as_str());
        }
    }

    fn on_close(&mut self, _: &mut CoreCx<'_, Self>, _: ConnId, player: Player, _: &CloseReason<'_>) {
        if let Some(id) = player.id {
            self.world.leave(id);
        }
    }
}
