//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/internal/bench/report"
)

// stages is a backlog whose way to the history is measured in its two halves, each by itself as the bare components are:
// the chat room publishes all of it while no persister runs, then a persister takes the full queue while no chat room
// runs. What follows, that the outbox learns that all is stored, is awaited and not measured.
//
// A half counts from the first progress that is seen until its end, so that the start of a process is no part of it.
type stages struct {
	own   *installation
	title string
	batch int // events in an AMQP message at most; 0: the default
	Sizes
	tell func(string)
}

// OneByOne is go-chat with one event in each AMQP message.
const OneByOne = "one event a message"

const (
	figurePublished = "published"
	figureConsumed  = "consumed and stored"
)

// forgetAfter lets the outbox ask soon what is stored: nobody was there to hear it announced.
const forgetAfter = time.Second

func (s *stages) name() string { return s.title }

func (s *stages) measure(ctx context.Context, _ time.Duration) (m report.Measurement, err error) {
	conn, err := pgx.Connect(ctx, s.own.database)
	if err != nil {
		return m, err
	}
	defer func() {
		// The installation is left as it was found, whatever happened.
		err = errors.Join(err, conn.Close(context.WithoutCancel(ctx)), s.own.stop(context.WithoutCancel(ctx)), s.own.start(ctx))
	}()
	if err := s.own.stop(ctx); err != nil {
		return m, err
	}
	run, each := newRun(), max(1, s.Rows/s.Rooms)
	rows := int64(each * s.Rooms)
	rooms := make([]string, s.Rooms)
	for i := range rooms {
		rooms[i] = fmt.Sprintf("stages-%s-%d", run, i)
	}
	if err := s.own.fillOutbox(ctx, func(i int) string { return rooms[i] }, s.Rooms, each, s.TextBytes, s.tell); err != nil {
		return m, err
	}
	note := func(text string) { m.Notes = append(m.Notes, text) }
	before := s.own.server().usage()
	published, messages, err := s.publish(ctx, conn, rows, note)
	if err != nil {
		return m, fmt.Errorf("publish: %w", err)
	}
	stored, err := s.store(ctx, conn, rooms, rows, note)
	if err != nil {
		return m, fmt.Errorf("consume and store: %w", err)
	}
	m.Seconds, m.Usage = time.Since(before.at).Seconds(), between(before, s.own.server().usage())
	m.Figures = []report.Figure{
		{Name: figurePublished, Unit: "/s", Value: published}, {Name: figureConsumed, Unit: "/s", Value: stored},
		{Name: "events in an AMQP message", Value: float64(rows) / float64(max(messages, 1))},
	}
	m.Counts = map[string]int64{"rows": rows, "messages": int64(messages)}
	return m, s.forget(ctx, conn)
}

// publish lets the chat room publish all rows, and tells how many messages they became.
func (s *stages) publish(ctx context.Context, conn *pgx.Conn, rows int64, note func(string)) (rate float64, messages int, err error) {
	var more []string
	if s.batch > 0 {
		more = []string{"--batch-events", strconv.Itoa(s.batch)}
	}
	rate, err = half{
		what: "published", rows: rows, tell: s.tell, note: note,
		start: func(ctx context.Context) error { return s.own.startChat(ctx, more...) },
		left: func(ctx context.Context) (left int64, err error) {
			err = conn.QueryRow(ctx, `SELECT count(*) FROM chatroom.outbox WHERE published_at IS NULL`).Scan(&left)
			return left, err
		},
		done: func(ctx context.Context) (done bool, err error) {
			err = conn.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM chatroom.outbox WHERE published_at IS NULL)`).Scan(&done)
			return done, err
		},
	}.pace(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := s.own.stopChat(ctx); err != nil {
		return 0, 0, err
	}
	messages, err = s.queued()
	return rate, messages, err
}

// queued is how many messages wait for the persister.
func (s *stages) queued() (int, error) {
	conn, err := amqp.Dial(s.own.broker.URL())
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return 0, err
	}
	q, err := ch.QueueDeclarePassive(events.Topology{}.MessageSentQueue(), true, false, false, false, nil)
	return q.Messages, err
}

// store lets the persister take all of it.
func (s *stages) store(ctx context.Context, conn *pgx.Conn, rooms []string, rows int64, note func(string)) (float64, error) {
	left := func(ctx context.Context) (left int64, err error) {
		// What is above a hole counts as stored too early, never too late. Walks one key of each room.
		err = conn.QueryRow(ctx, `SELECT $2 - sum(coalesce((SELECT seq FROM persister.messages WHERE room = r ORDER BY seq DESC LIMIT 1), 0)) FROM unnest($1::text[]) AS r`,
			rooms, rows).Scan(&left)
		return left, err
	}
	return half{
		what: "stored", rows: rows, start: s.own.persist.Start, left: left, tell: s.tell, note: note,
		done: func(ctx context.Context) (bool, error) {
			if n, err := left(ctx); n > 0 || err != nil {
				return false, err
			}
			var n int64
			err := conn.QueryRow(ctx, `SELECT count(*) FROM persister.messages WHERE room = ANY($1)`, rooms).Scan(&n)
			return n == rows, err
		},
	}.pace(ctx)
}

// half is one half of the way: a process that is started, and how far it has come.
type half struct {
	what  string
	rows  int64
	start func(context.Context) error
	left  func(context.Context) (int64, error) // how many rows are not done
	done  func(context.Context) (bool, error)  // cheaper, and asked until the end
	tell  func(string)
	note  func(string) // for the result
}

// lookEvery is how often the end of a half is looked for, which costs the database some of what is measured: looks each 5 ms
// had a sixteenth of both cores, since each walks over the index entries of what is done.
const lookEvery = 25 * time.Millisecond

// pace is how many rows a second were done between the first progress that is seen and the end.
func (h half) pace(ctx context.Context) (rate float64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer func() {
		wg.Wait()
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
	}()
	wg.Go(func() {
		if err := h.start(ctx); err != nil {
			cancel(err)
		}
	})
	var before, began time.Time // the last look that saw nothing done, the first that saw something
	var first int64
	var failed error
	ok, err := until(ctx, drainLimit, lookEvery, func() bool {
		if began.IsZero() {
			look := time.Now()
			n, err := h.left(ctx)
			switch failed = err; {
			case err == nil && n < h.rows:
				began, first = time.Now(), n
				h.tell(fmt.Sprintf("the first of %d are %s", h.rows, h.what))
			case err == nil:
				before = look
			}
			return failed != nil || !began.IsZero() && n == 0
		}
		end, err := h.done(ctx)
		failed = err
		return end || err != nil
	})
	switch {
	case err != nil || failed != nil:
		return 0, errors.Join(err, failed)
	case !ok:
		return 0, fmt.Errorf("%d rows were not %s within %s", h.rows, h.what, drainLimit)
	case first == 0 && before.IsZero():
		return 0, fmt.Errorf("all %d rows were %s before one look was over: take more --rows", h.rows, h.what)
	case first == 0:
		h.note(fmt.Sprintf("all %d rows were %s between two looks: the rate is at least that; take more --rows", h.rows, h.what))
		return float64(h.rows) / began.Sub(before).Seconds(), nil
	}
	return float64(first) / time.Since(began).Seconds(), nil
}

// forget lets the outbox find out that all is stored.
func (s *stages) forget(ctx context.Context, conn *pgx.Conn) error {
	s.tell("waiting until the outbox knows that all is stored")
	if err := s.own.startChat(ctx, "--republish-after", forgetAfter.String()); err != nil {
		return err
	}
	var failed error
	ok, err := until(ctx, time.Minute, lookEvery, func() (empty bool) {
		failed = conn.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM chatroom.outbox)`).Scan(&empty)
		return empty || failed != nil
	})
	if err == nil && failed == nil && !ok {
		failed = errors.New("the outbox still held rows a minute after all were stored")
	}
	return errors.Join(err, failed)
}
