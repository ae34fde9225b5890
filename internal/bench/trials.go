//go:build unix

package bench

import "time"

// aim is what one figure of a run should be. With another subject, or another figure of its own, it is about the ratio of
// the two, round by round.
type aim struct {
	text    string
	figure  string
	of      string // whose figure; empty: go-chat's
	subject string
	atLeast float64 // 0: no lower bound
	below   float64 // 0: no upper bound
}

// compared are the subjects that a run has only where it is asked to compare.
var compared = []string{Baseline, BareInsert, BareCommits, BareCommit, BarePublish, BareRouted, BareConsume}

// trial is a scenario with its aims.
type trial struct {
	scenario string
	change   func(*Sizes) // nil: the scenario's own sizes
	of       string       // of a sweep
	at       []int
	embedded bool
	tls      bool
	long     string        // why it takes too long for every day; empty: it does not
	lasts    time.Duration // of its one round; 0: as asked
	aims     []aim
}

// trials are the project's goals for speed, each measured in the same run as what it is compared with.
func trials() []trial {
	return []trial{
		{scenario: Fanout, aims: []aim{
			{text: "fan-out to 1,000 at saturation, work for a CPU-second", figure: figurePerCPU, subject: Baseline, atLeast: 2.5},
		}},
		{scenario: Latency, change: func(s *Sizes) { s.Subscribers, s.Rate = 1000, 500 }, aims: []aim{
			{text: "fan-out to 1,000 at 500 messages/s, p99", figure: figureLatency + " p99", subject: Baseline, below: 0.5},
		}},
		{scenario: Fanout, change: func(s *Sizes) { s.Rooms, s.Subscribers, s.Senders, s.Window = 100, 9, 1, 16 }, aims: []aim{
			{text: "100 rooms of 10, deliveries/s", figure: figureDelivered, subject: Baseline, atLeast: 1},
			{text: "100 rooms of 10, deliveries for a CPU-second", figure: figurePerCPU, subject: Baseline, atLeast: 1},
		}},
		{scenario: Fanout, change: func(s *Sizes) { s.Rooms, s.Subscribers, s.Senders, s.Window = 1000, 1, 1, 4 }, aims: []aim{
			{text: "1,000 rooms of 2, deliveries/s", figure: figureDelivered, subject: Baseline, atLeast: 1},
			{text: "1,000 rooms of 2, deliveries for a CPU-second", figure: figurePerCPU, subject: Baseline, atLeast: 1},
		}},
		{scenario: Ingest, aims: []aim{
			{text: "64 senders, a room each, accepted/s", figure: figureMessages, atLeast: 20_000},
			{text: "64 senders against 64 bare commits", figure: figureMessages, subject: BareCommits, atLeast: 1.25},
			{text: "64 senders against a bare batched insert", figure: figureMessages, subject: BareInsert, atLeast: 0.35},
		}},
		{scenario: Ingest, change: func(s *Sizes) { s.Rooms, s.Senders = 1, 64 }, aims: []aim{
			{text: "one hot room of 64 senders, accepted/s", figure: figureMessages, atLeast: 6000},
			{text: "one hot room, p50 until accepted, ms", figure: figureAccepted + " p50", below: 5},
			{text: "one hot room, p99 until accepted, ms", figure: figureAccepted + " p99", below: 25},
		}},
		{scenario: Latency, change: func(s *Sizes) { s.Subscribers, s.Rate = 1, 20 }, aims: []aim{
			{text: "one sender, p50 until accepted", figure: figureAccepted + " p50", subject: BareCommit, below: 1.5},
		}},
		{scenario: Stages, aims: []aim{
			{text: "a backlog published, against bare confirms one by one", figure: figurePublished, subject: BarePublish, atLeast: 2},
			{text: "a backlog consumed and stored, against bare one by one", figure: figureConsumed, subject: BareConsume, atLeast: 2},
			{text: "one event in an AMQP message, against bare confirms", figure: figurePublished, of: OneByOne, subject: BarePublish, atLeast: 0.7},
			{text: "one event in an AMQP message, against bare confirms through a topic exchange", figure: figurePublished, of: OneByOne, subject: BareRouted, atLeast: 0.7},
			{text: "one event in an AMQP message, against bare consume and store", figure: figureConsumed, of: OneByOne, subject: BareConsume, atLeast: 0.6},
		}},
		{scenario: Drain, change: func(s *Sizes) { s.Rows = 500_000 }, long: "500,000 rows", aims: []aim{
			{text: "500,000 rows after an outage, rows/s", figure: figureMessages, atLeast: 20_000},
			{text: "memory of the chat room meanwhile: last third ÷ middle third", figure: figureGrowth(serverMemory), below: 1.1},
		}},
		{scenario: Latency, change: func(s *Sizes) { s.Rooms, s.Senders, s.Subscribers, s.Rate = 64, 1, 1, 10_000 }, long: "two minutes at 10,000/s", lasts: 2 * time.Minute, aims: []aim{
			{text: "10,000 messages/s for two minutes, accepted/s", figure: figureMessages, atLeast: 9900},
			{text: "10,000 messages/s for two minutes, p99 until stored, ms", figure: figureStored + " p99", below: 500},
			{text: "10,000 messages/s for two minutes, rows in the outbox at most", figure: atMost(outboxRows), below: 20_000},
		}},
		{scenario: Join, change: func(s *Sizes) { s.Subscribers = 2000 }, aims: []aim{
			{text: "2,000 clients join one room, ms until all have", figure: figureAllJoined, below: 2000},
		}},
		{scenario: Join, change: func(s *Sizes) { s.Events = 5_000_000 }, long: "5 million events", aims: []aim{
			{text: "first page of 5 million events, ms", figure: figureLongPage + " p50", subject: figureShortPage + " p50", below: 1.5},
		}},
		{scenario: Idle, change: func(s *Sizes) { s.Subscribers, s.Rooms = 10_000, 1000 }, aims: []aim{
			{text: "10,000 idle connections, KiB for each", figure: figureMemory, below: 12},
		}},
		{scenario: Sweep, of: OfTable, at: []int{100_000, 1_000_000}, aims: []aim{
			{text: "accepted/s at 10⁶ rows, against 10⁵", figure: figureMessages, of: sizeName(OfTable, 1_000_000), subject: sizeName(OfTable, 100_000), atLeast: 0.8},
		}},
		{scenario: Sweep, of: OfTable, at: []int{100_000, 10_000_000}, long: "10⁷ rows to fill", aims: []aim{
			{text: "accepted/s at 10⁷ rows, against 10⁵", figure: figureMessages, of: sizeName(OfTable, 10_000_000), subject: sizeName(OfTable, 100_000), atLeast: 0.8},
		}},
		{scenario: Churn, long: "ten minutes", lasts: 10 * time.Minute, aims: []aim{
			{text: "chat room after ten minutes of connect, talk, leave: memory of the last third ÷ middle third", figure: figureGrowth(serverMemory), below: 1.1},
			{text: "persister likewise", figure: figureGrowth(persisterMemory), below: 1.1},
		}},
		{scenario: Ingest, embedded: true, aims: []aim{
			{text: "embedded, 64 senders against a bare batched insert", figure: figureMessages, subject: BareInsert, atLeast: 0.5},
		}},
		{scenario: Idle, embedded: true, tls: true, change: func(s *Sizes) { s.Subscribers, s.Rooms = 10_000, 1000 }, aims: []aim{
			{text: "10,000 idle connections with TLS, embedded, KiB for each", figure: figureMemory, below: 32},
		}},
	}
}
