package events

import "strconv"

// Topology names what is declared in the broker. Prefix sets apart several installations (or tests) on one virtual
// host; it is empty in an ordinary one. Arguments are fixed: what may be tuned is a policy of the broker, so that
// replicas of two versions never disagree on a declaration.
type Topology struct {
	Prefix string
}

// EventsExchange is the durable topic exchange. Only durable service queues bind here, since any bound queue satisfies
// the mandatory flag.
func (t Topology) EventsExchange() string { return t.Prefix + "chat.events.v1" }

// MessageSentQueue is the persister's quorum queue, bound with [MessageSentBinding]; it dead-letters to
// [Topology.DeadLetterExchange] with its own name as the routing key.
func (t Topology) MessageSentQueue() string { return t.Prefix + "persister.message-sent.v1" }

// DeadLetterExchange is the durable direct exchange of the poison queue.
func (t Topology) DeadLetterExchange() string { return t.Prefix + "chat.dlx.v1" }

// DeadLetterQueue is the poison queue, a quorum queue, bound with the name of [Topology.MessageSentQueue].
func (t Topology) DeadLetterQueue() string { return t.MessageSentQueue() + ".dead" }

// DeadLetterLock is an exclusive queue that whoever works on the poison queue has meanwhile: quorum queues know no
// exclusive consumer.
func (t Topology) DeadLetterLock() string { return t.DeadLetterQueue() + ".lock" }

// FanoutExchange is the durable fanout exchange for live events and stored marks between replicas; what passes it is
// transient and unconfirmed, and a loss is repaired from the database.
func (t Topology) FanoutExchange() string { return t.Prefix + "chat.fanout.v1" }

// FanoutQueue is one replica's exclusive, auto-delete, bounded queue; when full it drops its head.
func (t Topology) FanoutQueue(instance string) string {
	return t.Prefix + "chatroom.fanout." + instance
}

// MessageSentBinding matches every key that [MessageSentKey] makes.
const MessageSentBinding = "message.sent.#"

// MessageSentKey is the routing key of a shard's events.
func MessageSentKey(shard int) string { return "message.sent." + strconv.Itoa(shard) }
