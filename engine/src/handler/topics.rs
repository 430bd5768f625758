//! Topics, as callbacks reach them: publishing through any context, subscribing through a connection.

use std::time::Duration;

use wsring_proto::opcode::Message;

use super::callbacks::{Conn, CoreCx, Handler};
use crate::engine::panics::ours;
use crate::engine::{
    ConnId, Counts, Delivery, Publish, Published, SubscribeError, Subscribed, Topic, TopicError, TopicId,
};

/// # Topics
/// A message that is published goes to all connections of this core that have subscribed to its topic. What happens where a socket does
/// not keep up, each subscription says: [`Delivery`].
impl<H: Handler> CoreCx<'_, H> {
    /// The topic of this name: the same on all cores, and by [`Handle::topic`](crate::Handle::topic). It takes a lock and hashes the name: ask once,
    /// and keep what is answered. A topic is never forgotten, so names that peers choose need a bound of your own.
    ///
    /// # Errors
    /// If there are [`Config::topics_max`](crate::Config::topics_max) already.
    pub fn topic(&mut self, name: &str) -> Result<TopicId, TopicError> {
        ours(|| self.out.names.topic(name))
    }

    /// Has this core treat a topic so from now on. Each core is told for itself: one that is not retains nothing. It may have subscribers by then: what is retained
    /// stays if it is retained so already, of fewer keys or of more, as long as all have room; else it is let go. Messages that were numbered per key
    /// and are not any more, or the other way round, or whose keys have no room, are numbered anew: those that wait then have no number, and each subscriber is told of the next what it
    /// would be told if it had subscribed now.
    pub fn configure_topic(&mut self, topic: TopicId, how: Topic) {
        self.out.configure_topic(topic.index(), how);
    }

    /// Publishes a message to all subscribers of this core; [`Handle::publish`](crate::Handle::publish), which [`Self::handle`] has too, to those of all
    /// cores. It is encoded once for all that agreed on the same compression and do not mask.
    /// Subscribers are given messages of a topic in the order in which they are published on this core.
    #[inline]
    pub fn publish<'m>(&mut self, topic: TopicId, message: impl Into<Message<'m>>) -> Published {
        self.publish_as(topic, Publish::default(), message)
    }

    /// The same, with a key: messages with different keys stand beside each other, and are not conflated with each other.
    #[inline]
    pub fn publish_keyed<'m>(&mut self, topic: TopicId, key: u64, message: impl Into<Message<'m>>) -> Published {
        self.publish_as(topic, Publish::keyed(key), message)
    }

    /// The same, with a message that takes its key away: it goes to all, and the key is no longer retained.
    pub fn remove_key<'m>(&mut self, topic: TopicId, key: u64, message: impl Into<Message<'m>>) -> Published {
        self.publish_as(topic, Publish::keyed(key).removes(), message)
    }

    /// The same, as `how` says.
    #[inline]
    pub fn publish_as<'m>(&mut self, topic: TopicId, how: Publish, message: impl Into<Message<'m>>) -> Published {
        let message = message.into();
        ours(|| self.out.publish(topic.index(), how, message.opcode(), message.as_bytes()))
    }

    /// How long the message has waited that waits first of those that topics have for a connection, or the one whose place it took: nothing that waits
    /// there is older, but for what [`Delivery::at_most`] holds. Zero if nothing waits. What the kernel has is not seen here.
    pub fn lag(&mut self, id: ConnId) -> Duration {
        let now = self.out.clock;
        let since = self.out.peers.find(id).and_then(|index| self.out.waits_since(index));
        since.map_or(Duration::ZERO, |since| now.since(since))
    }
}

/// # Topics
impl<H: Handler> Conn<'_, H> {
    /// Subscribes this connection to a topic; again, to change how it is served. What the topic retains is given to a new subscriber in this
    /// very call, before anything else of the topic.
    ///
    /// # Errors
    /// If the connection is closing, has [`Config::subscriptions_max`](crate::Config::subscriptions_max) already, or has no room
    /// for what is retained. Then nothing has changed.
    pub fn subscribe(&mut self, topic: TopicId, delivery: Delivery) -> Result<Subscribed, SubscribeError> {
        let index = self.index();
        ours(|| self.out.subscribe(index, topic.index(), delivery))
    }

    /// Ends a subscription, and says what became of its messages: what waited is dropped, what is in the connection's output goes out. `None`: there is none.
    pub fn unsubscribe(&mut self, topic: TopicId) -> Option<Counts> {
        let index = self.index();
        ours(|| self.out.unsubscribe(index, topic.index()))
    }

    /// Has topics give this connection at most so many bytes a second from now on (0 counts as 1), or as many as its socket takes: `None`. In
    /// [`on_open`](crate::Handler::on_open) it is the connection's from the beginning; without a call it is
    /// [`Config::topics_bytes_per_second`](crate::Config::topics_bytes_per_second). It may be changed at any time, by what a client asks for or what it pays. What
    /// went beyond the old rate, at most a message, is paid for by the new one; the rate that it has already changes nothing.
    ///
    /// Bytes are those of frames: compressed where they are, without TLS and TCP. In any stretch of time no more goes than the rate brings, a tenth of a second's
    /// bytes and one message, however long that is. What may not go yet waits as it does for a slow socket, and each subscription's
    /// [`Delivery`] says what happens meanwhile: conflated, a client gets the newest value of each key as fast as its rate allows, and never a backlog.
    ///
    /// With a rate all messages of topics go by way of what waits: so at the end of a pass rather than in the order of [`send`](Self::send), and with
    /// [`Flush::AtTick`](crate::Flush::AtTick) as soon as they may, not at a tick. Not bounded, and not counted, are what you send yourself, subscriptions with [`Delivery::queue`], and
    /// what goes before a close of yours.
    pub fn set_topics_bytes_per_second(&mut self, bytes: impl Into<Option<u32>>) {
        let (index, bytes) = (self.index(), bytes.into());
        ours(|| self.out.set_rate(index, bytes));
    }

    /// What became of the messages of a subscription so far; `None` if there is none. A subscription ends with its connection: when
    /// [`on_close`](crate::Handler::on_close) is called there is none any more.
    pub fn counts(&self, topic: TopicId) -> Option<Counts> {
        self.out.counts(self.index(), topic.index())
    }

    /// The sum of all subscriptions of this connection, those that it ended included. Each of those that it has is looked at: that counts to what the connection may
    /// have of a pass ([`Config::pass_share_messages`](crate::Config::pass_share_messages)), two of them as a small message.
    pub fn counts_of_all(&mut self) -> Counts {
        let index = self.index();
        self.out.sum_of_counts(index)
    }
}
