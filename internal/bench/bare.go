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
	BareCommit  = "one bare commit"        // the same, one connection at the pace that it has
	BarePublish = "bare confirms"          // one event in a message, 1,024 published, then 1,024 confirms
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
	add := func(title string, writers, rows int) error {
		loop := bareLoop{text: strings.Repeat("x", max(p.TextBytes, 1)), rows: rows, pace: title != BareCommit}
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
		err = add(BareCommit, 1, 1)
	case p.Scenario == Ingest && i.postgres == nil:
		err = add(BareInsert, 1, senders)
	case p.Scenario == Ingest:
		err = errors.Join(add(BareInsert, 1, senders), add(BareCommits, senders, 1))
	case (p.Scenario == Drain || p.Scenario == Stages) && i.broker != nil:
		broker, err := i.bareBroker(ctx, p, &closers)
		if err != nil {
			return nil, done, err
		}
		all = append(all, &bareSubject{BarePublish, broker.publishing}, &bareSubject{BareConsume, broker.consuming})
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

// bareLoop writes rows again and again, each writer by itself.
type bareLoop struct {
	writers []writeRows
	rows    int // in a transaction
	text    string
	pace    bool // its messages a second are a figure
}

func (b bareLoop) measure(ctx context.Context, length time.Duration) (report.Measurement, error) {
	var m report.Measurement
	var h stats.Histogram
	var n atomic.Int64
	run := newRun()
	errs := make([]error, len(b.writers))
	before := usage{at: time.Now(), generator: ownCPU()}
	var wg sync.WaitGroup
	for w, write := range b.writers {
		wg.Go(func() {
			for seq := int64(1); time.Since(before.at) < length && ctx.Err() == nil; seq++ {
				rows := make([]sentRow, b.rows)
				for i := range rows {
					var err error
					who := fmt.Sprintf("bare-%s-%d-%d", run, w, i)
					if rows[i], err = newSentRow(who, fmt.Sprintf("%s.%d", run, seq), who, seq, b.text); err != nil {
						errs[w] = err
						return
					}
				}
				began := time.Now()
				if errs[w] = write(ctx, rows); errs[w] != nil {
					return
				}
				h.Record(time.Since(began))
				n.Add(int64(b.rows))
			}
		})
	}
	wg.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return m, err
	}
	after := usage{at: time.Now(), generator: ownCPU()}
	m.Seconds, m.Usage = after.at.Sub(before.at).Seconds(), between(before, after)
	if b.pace {
		m.Figures = []report.Figure{{Name: figureMessages, Unit: "/s", Value: float64(n.Load()) / m.Seconds}}
	}
	if b.rows == 1 {
		latencies(&m, figureAccepted, &h)
	}
	m.Counts = map[string]int64{"rows": n.Load()}
	return m, nil
}
