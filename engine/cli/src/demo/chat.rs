//! `--demo chat`: rooms at `/chat/ROOM`. What a member says goes to all in the room, the speaker included.
//!
//! A room is a topic: who is in it is its subscribers, and one who reads slowly misses the oldest lines and is told how many. Refuses to
//! keep what was said.

use std::collections::HashMap;

use wsring::http::StatusCode;
use wsring::{
    CloseCode, CloseReason, Config, ConnId, CoreCx, Cx, Delivery, Handler, Lagged, Message, Opening, Response, TopicId,
    Verdict,
};

use super::{fault, name};
use crate::pages;

/// Rooms that there may ever be: a topic is not forgotten, and peers choose the names.
pub(crate) const ROOMS_MAX: u32 = 1_000;
/// The longest line, in bytes.
const LINE_MAX: usize = 16 << 10;
/// Lines that wait for a member who does not keep up.
const LINES_MAX: u32 = 256;

/// The settings of a chat.
pub(crate) fn config(config: Config) -> Config {
    config.topics_max(ROOMS_MAX)
}

/// The one core's handler.
#[derive(Default)]
pub(crate) struct Chat {
    /// How many are in each room where somebody is.
    here: HashMap<TopicId, u32>,
}

/// A connection's member.
pub(crate) struct Member {
    name: String,
    room: TopicId,
}

impl Handler for Chat {
    type Conn = Member;
    type Mail = ();

    fn on_upgrade(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Verdict<Member> {
        let Some(room) = opening.request.path().strip_prefix("/chat/").filter(|room| name::is_name(room)) else {
            return Verdict::reject_status(StatusCode::NOT_FOUND);
        };
        let name = match opening.request.query() {
            None => "somebody",
            query => match name::name_in(query) {
                Some(name) => name,
                None => return Verdict::reject_status(StatusCode::BAD_REQUEST),
            },
        };
        match cx.topic(room) {
            Ok(room) => Verdict::accept(Member { name: name.to_owned(), room }),
            Err(_) => Verdict::reject_status(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    fn on_request(&mut self, cx: &mut CoreCx<'_, Self>, opening: &Opening<'_>) -> Response {
        pages::answer(opening, cx.is_draining(), "rooms to chat in: connect to /chat/ROOM?name=N with ws://\n")
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>) {
        let (Member { name, room }, mut conn) = cx.split();
        let here = self.here.entry(*room).or_default();
        *here += 1;
        let line = format!(r#"{{"joined":"{name}","here":{here}}}"#);
        if let Err(error) = conn.subscribe(*room, Delivery::drop_oldest(LINES_MAX)) {
            conn.close(CloseCode::TRY_AGAIN, &error.to_string());
        }
        conn.publish(*room, line.as_str());
    }

    fn on_message(&mut self, cx: &mut Cx<'_, Self>, message: Message<'_>) {
        let (Member { name, room }, mut conn) = cx.split();
        match message {
            Message::Text(text) if text.len() > LINE_MAX => {
                fault::tell(&mut conn, &format!("a line is at most {LINE_MAX} bytes"));
            }
            Message::Text(text) => {
                let text = serde_json::Value::from(text); // writes itself as JSON
                conn.publish(*room, format!(r#"{{"from":"{name}","text":{text}}}"#).as_str());
            }
            _ => fault::tell(&mut conn, "a line is text"),
        }
    }

    fn on_lagged(&mut self, cx: &mut Cx<'_, Self>, lagged: Lagged) {
        let _ = cx.send(format!(r#"{{"missed":{}}}"#, lagged.dropped).as_str()); // nothing waits: there is room
    }

    fn on_close(&mut self, cx: &mut CoreCx<'_, Self>, _: ConnId, member: Member, _: &CloseReason<'_>) {
        let Member { name, room } = member;
        let here = self.here.get_mut(&room).map_or(0, |here| {
            *here -= 1;
            *here
        });
        if here == 0 {
            self.here.remove(&room);
        }
        cx.publish(room, format!(r#"{{"left":"{name}","here":{here}}}"#).as_str());
    }
}
