// Package bus carries events between the services: over RabbitMQ ([DialAMQP]) or inside one process ([NewInProcess]).
// It is the only package that imports Watermill; callers use [RunRelay], [RunConsumer], [RunFanout] and [Broadcast] and
// see none of it.
//
// What it promises:
//
//   - A publish of an event returns nil only when its consumer has it for good: over AMQP every message was confirmed
//     by the broker and none came back as unroutable; in process every registered group acknowledged. Otherwise it
//     returns an error, and the caller publishes the same again: delivery is at least once.
//   - A consumed message is acknowledged after its handler is done with it, and comes again after a crash, a lost
//     connection or an error. One subscriber with one message in flight keeps the order, also across a redelivery.
//     Messages that waited together are handled together, as a bundle, and acknowledged with one call; one that was
//     delivered before is handled alone.
//   - Only errors marked by events.Permanent lead to the dead letters, each event alone, out of a batch too. Outages are
//     retried in place with a growing delay, then given back to the queue after a delay. A stop poisons nothing.
//   - The fan-out is best effort: it never blocks its sender, and what it loses is repaired from the database.
//
// Goroutines: a transport owns its connections' supervisors and the fan-out's writer, from its creation to Close. Each
// Run function owns one Watermill router and returns after the handlers in flight are done, or their grace is over.
// A broker that is away, also at the start, is tried again for ever with a growing delay.
//
// Limits: a confirm is awaited for a bounded time, what is in flight to a consumer is bounded by its prefetch, and the
// fan-out's queues drop what exceeds them.
package bus
