//go:build unix

package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rafaeldepontes/go-chat/internal/bench/report"
	"github.com/rafaeldepontes/go-chat/internal/bench/stats"
	"github.com/rafaeldepontes/go-chat/migrations"
)

// Names of the bare components: what the databases and the broker do by themselves, from this process, on the very servers
// that the installation stands on.
const (
	BareInsert  = "bare batched insert"    // the rows of accepting, one connection, a message of each sender in a transaction
	BareCommits = "bare commits"           // the same, a connection for each sender, a transaction for each message
	BareCommit  = "one bare commit"        // the same, one connection at the pace of one sender
	BarePublish = "bare confirms"          // one event in a message, 1,024 published, then 1,024 confirms
	BareRouted  = "bare confirms, routed"  // the same through a topic exchange
	BareConsume = "bare consume and store" // one event in a message, batched inserts, then acknowledgements
)

// bareDatabase is beside the installation's own, so that neither sees the other's rows.
const bareDatabase = "bare"

// bareSubject measures a loop.
type bareSubject struct {
	title string
	loop  func(ctx context.Context, length time.Duration) (report.Measurement, error)
}

func (b *bareSubject) name() string { return b.title }

func (b *bareSubject) measure(ctx context.Context, length time.Duration) (report.Measurement, error) {
	return b.loop(ctx, length)
}

// bare are the components for a scenario; done is to be called in any case.
func (i *installation) bare(ctx context.Context, p Plan) (all []subject, done func(), err error) {
	var closers []func()
	done = func() {
		for _, f := range closers {
			f()
		}
	}
	writer, err := i.bareWriter(ctx, &closers)
	if err != nil {
		return nil, done, err
	}
	add := func(title string, writers, rows int, pace pace) error {
		loop := bareLoop{text: strings.Repeat("x", max(p.TextBytes, 1)), rows: rows, pace: pace}
		for range writers {
			write, err := writer()
			if err != nil {
				return err
			}
			loop.writers = append(loop.writers, write)
		}
		all = append(all, &bareSubject{title, loop.measure})
		return nil
	}
	switch senders := p.Rooms * p.Senders; {
	case p.Scenario == Latency:
		err = add(BareCommit, 1, 1, p.pace())
	case p.Scenario == Ingest && i.postgres == nil:
		err = add(BareInsert, 1, senders, pace{})
	case p.Scenario == Ingest:
		err = errors.Join(add(BareInsert, 1, senders, pace{}), add(BareCommits, senders, 1, pace{}))
	case (p.Scenario == Drain || p.Scenario == Stages) && i.broker != nil:
		broker, err := i.bareBroker(ctx, p, &closers)
		if err != nil {
			return nil, done, err
		}
		all = append(all, &bareSubject{BarePublish, broker.publishing}, &bareSubject{BareRouted, broker.publishingRouted}, &bareSubject{BareConsume, broker.consuming})
	}
	return all, done, err
}

// bareWriter makes connections to an empty database of the installation's kind.
func (i *installation) bareWriter(ctx context.Context, closers *[]func()) (func() (writeRows, error), error) {
	if i.postgres == nil {
		file, err := migratedFile(ctx, filepath.Join(i.cfg.Dir, "bare-"+newRun()+".db"), migrations.Chatroom)
		if err != nil {
			return nil, err
		}
		*closers = append(*closers, func() { _ = file.Close() })
		return func() (writeRows, error) {
			return func(ctx context.Context, rows []sentRow) error { return insertSQLite(ctx, file.Writer, rows) }, nil
		}, nil
	}
	at, err := i.bareURL(ctx)
	if err != nil {
		return nil, err
	}
	return func() (writeRows, error) {
		conn, err := pgx.Connect(ctx, at)
		if err != nil {
			return nil, fmt.Errorf("connect to the bare database: %w", err)
		}
		*closers = append(*closers, func() { _ = conn.Close(context.WithoutCancel(ctx)) })
		return func(ctx context.Context, rows []sentRow) error { return insertPostgres(ctx, conn, rows) }, nil
	}, nil
}

// bareURL makes the bare database where it is missing, with the tables of both services.
func (i *installation) bareURL(ctx context.Context) (string, error) {
	u, err := url.Parse(i.postgres.URL())
	if err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var there bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, bareDatabase).Scan(&there); err != nil {
		return "", err
	}
	u.Path = "/" + bareDatabase
	if there {
		return u.String(), nil
	}
	if _, err := conn.Exec(ctx, `CREATE DATABASE `+bareDatabase); err != nil {
		return "", fmt.Errorf("make the bare database: %w", err)
	}
	m, err := migrations.Postgres(u.String(), migrations.Chatroom, migrations.Persister)
	if err != nil {
		return "", err
	}
	_, err = m.Up(ctx)
	return u.String(), errors.Join(err, m.Close())
}

// writeRows commits rows.
type writeRows func(ctx context.Context, rows []sentRow) error

// bareLoop writes rows again and again, each writer by itself. Without a pace a writer goes on when it has committed; with
// one, times count from the plan, as for any sender.
type bareLoop struct {
	writers []writeRows
	rows    int // in a transaction
	text    string
	pace    pace
}

// bareTimes are those of all writers.
type bareTimes struct {
	written, late stats.Histogram
	rows          atomic.Int64
}

func (b bareLoop) measure(ctx context.Context, length time.Duration) (report.Measurement, error) {
	var m report.Measurement
	var all bareTimes
	run := newRun()
	errs := make([]error, len(b.writers))
	for w := range b.writers { // statements are prepared once
		if err := b.write(ctx, run, w, 1); err != nil {
			return m, err
		}
	}
	before := usage{at: time.Now(), generator: ownCPU()}
	var wg sync.WaitGroup
	for w := range b.writers {
		wg.Go(func() { errs[w] = b.loop(ctx, run, w, before.at, length, &all) })
	}
	wg.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return m, err
	}
	after := usage{at: time.Now(), generator: ownCPU()}
	m.Seconds, m.Usage = after.at.Sub(before.at).Seconds(), between(before, after)
	m.Figures = []report.Figure{{Name: figureMessages, Unit: "/s", Value: float64(all.rows.Load()) / m.Seconds}}
	if b.rows == 1 {
		latencies(&m, figureAccepted, &all.written)
	}
	m.Counts = map[string]int64{"rows": all.rows.Load()}
	judgeLateness(&m, &all.late, &all.written)
	return m, nil
}

// loop is one writer until the time is over.
func (b bareLoop) loop(ctx context.Context, run string, writer int, began time.Time, length time.Duration, all *bareTimes) error {
	due, free := began, began // when the next rows are planned, and when it could write them
	for seq := int64(2); seq == 2 || later(due, time.Now()).Sub(began) < length; seq++ {
		if b.pace.every == 0 {
			due = time.Now()
		} else {
			if !b.pace.wait(ctx, due) {
				return nil
			}
			all.late.Record(time.Since(later(due, free)))
		}
		if err := b.write(ctx, run, writer, seq); err != nil {
			return err
		}
		all.written.Record(time.Since(due))
		all.rows.Add(int64(b.rows))
		due, free = due.Add(b.pace.every), time.Now()
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// write commits the rows of one transaction of a writer.
func (b bareLoop) write(ctx context.Context, run string, writer int, seq int64) error {
	rows := make([]sentRow, b.rows)
	for i := range rows {
		var err error
		who := fmt.Sprintf("bare-%s-%d-%d", run, writer, i)
		if rows[i], err = newSentRow(who, fmt.Sprintf("%s.%d", run, seq), who, seq, b.text); err != nil {
			return err
		}
	}
	return b.writers[writer](ctx, rows)
}
