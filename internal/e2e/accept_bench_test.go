package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/db/dbtest"
	"github.com/rafaeldepontes/go-chat/outbox"
)

const (
	benchSenders = 64
	benchRounds  = 5
	benchRound   = 3 * time.Second
)

// BenchmarkAccept measures accepted messages/s in split mode, with relay and persister running: 64 senders, one message
// in flight each, a room each, 100-byte texts over WebSocket. Beside it, in alternating rounds, it measures a bare
// batched insert of the same rows: one connection, 64 messages a transaction, keys and outbox rows through unnest, heads
// updated. The ratio is the median of the rounds'; run it with -benchtime 1x.
func BenchmarkAccept(b *testing.B) {
	s := newSplit(b, brokerURL())
	s.persister("--log-level", "warn")
	chat := s.chatroom("--send-rate", "0", "--log-level", "warn")
	senders := make([]*wire, benchSenders)
	for i := range senders {
		senders[i] = hello(b, chat.addr, fmt.Sprintf("sender-%d", i))
		senders[i].join(fmt.Sprintf("room-%d", i), -1)
	}
	pool, _ := dbtest.Postgres(b)
	conn, err := pool.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	bare := newBareInsert(b, conn.Conn())

	run := 0
	for _, w := range senders {
		_ = w.conn.SetReadDeadline(time.Time{})
	}
	accept := func(d time.Duration) float64 { run++; return acceptFor(b, senders, run, d) }
	accept(time.Second) // plans, caches, the first leases
	bare.insertFor(time.Second)
	for b.Loop() {
		var ratios, accepted, inserted []float64
		for range benchRounds {
			a, i := accept(benchRound), bare.insertFor(benchRound)
			accepted, inserted, ratios = append(accepted, a), append(inserted, i), append(ratios, a/i)
		}
		slices.Sort(ratios)
		slices.Sort(accepted)
		slices.Sort(inserted)
		mid := benchRounds / 2
		b.ReportMetric(accepted[mid], "accepted/s")
		b.ReportMetric(inserted[mid], "bare/s")
		b.ReportMetric(ratios[mid], "ratio")
		b.ReportMetric(ratios[0], "ratio-min")
		b.ReportMetric(ratios[benchRounds-1], "ratio-max")
		b.ReportMetric(0, "ns/op")
	}
}

// acceptFor lets every sender send for a while and returns the accepted messages/s.
func acceptFor(b *testing.B, senders []*wire, run int, d time.Duration) float64 {
	var n atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for i, w := range senders {
		wg.Go(func() {
			for k := 0; time.Since(began) < d; k++ {
				id := fmt.Sprintf("%d/%d", run, k)
				w.say(`{"type":"send","id":%q,"room":"room-%d","text":%q}`, id, i, benchText)
				// The generator shares the machine with what it measures, so it looks for bytes and parses nothing.
				accepted := fmt.Appendf(nil, `{"type":"accepted","id":%q,`, id)
				for answered := false; !answered; {
					_, got, err := w.conn.ReadMessage()
					if err != nil || bytes.HasPrefix(got, []byte(`{"type":"error"`)) {
						b.Errorf("got %s, %v", got, err)
						return
					}
					answered = bytes.HasPrefix(got, accepted)
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(began).Seconds()
}

const benchText = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"

// bareInsert writes what accepting writes, without accepting.
type bareInsert struct {
	b    *testing.B
	conn *pgx.Conn
	seq  int64
}

func newBareInsert(b *testing.B, conn *pgx.Conn) *bareInsert {
	for i := range benchSenders {
		if _, err := conn.Exec(b.Context(), `INSERT INTO chatroom.rooms (room) VALUES ($1)`, fmt.Sprintf("room-%d", i)); err != nil {
			b.Fatal(err)
		}
	}
	return &bareInsert{b: b, conn: conn}
}

func (bi *bareInsert) insertFor(d time.Duration) float64 {
	n, began := 0, time.Now()
	for time.Since(began) < d {
		bi.insert(bi.b.Context())
		n += benchSenders
	}
	return float64(n) / time.Since(began).Seconds()
}

func (bi *bareInsert) insert(ctx context.Context) {
	bi.seq++
	now := time.Now().UTC()
	digest := sha256.Sum256([]byte(benchText))
	var senders, ids, rooms []string
	var seqs []int64
	var digests [][]byte
	var times []time.Time
	var rows []outbox.Row
	for i := range benchSenders {
		m := events.MessageSent{
			Room: fmt.Sprintf("room-%d", i), Seq: bi.seq, Kind: events.KindMessage, ID: fmt.Sprintf("1/%d", bi.seq),
			From: fmt.Sprintf("sender-%d", i), Text: benchText, SentAt: now,
		}
		payload, err := m.Encode("")
		if err != nil {
			bi.b.Fatal(err)
		}
		senders, ids, rooms, seqs = append(senders, m.From), append(ids, m.ID), append(rooms, m.Room), append(seqs, m.Seq)
		digests, times = append(digests, digest[:]), append(times, now)
		rows = append(rows, outbox.Row{Shard: events.Shard(m.Room), Key: m.Room, Seq: m.Seq, Payload: payload})
	}
	var batch pgx.Batch
	batch.Queue(`BEGIN`)
	batch.Queue(`INSERT INTO chatroom.accepted (sender, id, room, seq, digest, sent_at)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::timestamptz[])`,
		senders, ids, rooms, seqs, digests, times)
	outbox.QueueAppend(&batch, rows)
	batch.Queue(`UPDATE chatroom.rooms AS r SET head = h.head FROM unnest($1::text[], $2::bigint[]) AS h(room, head) WHERE r.room = h.room`, rooms, seqs)
	batch.Queue(`COMMIT`)
	if err := bi.conn.SendBatch(ctx, &batch).Close(); err != nil {
		bi.b.Fatal(err)
	}
}
