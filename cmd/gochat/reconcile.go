package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/persister"
)

func reconcileCommand() command {
	return command{
		name: "reconcile", summary: "publishes again what is accepted and not stored, waits until it is, and names what is missing",
		setup: func(s *config.Set) runFunc {
			database, broker, ca := declareDatabase(s), declareBroker(s), declareCA(s)
			data := s.String("data", "", "folder of gochat up, in the place of PostgreSQL and RabbitMQ; it must be stopped", config.FlagOnly(), config.Value("DIR"))
			wait := s.Duration("wait", time.Minute, "how long the events may take to be stored (default 1m)", config.FlagOnly(), config.Check(config.PositiveDuration))
			dry := s.Bool("dry-run", false, "only counts", config.FlagOnly())
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) > 0 {
					return usagef("reconcile takes no words: %q", args[0])
				}
				parts, err := openStored(ctx, *data, true, database, broker, ca)
				if err != nil {
					return err
				}
				return errors.Join(runReconcile(ctx, std, parts, *wait, *dry), parts.close())
			}
		},
	}
}

// runReconcile compares and, unless dry, mends.
func runReconcile(ctx context.Context, std stdio, parts *stored, wait time.Duration, dry bool) error {
	began := time.Now()
	told := began
	owner := fmt.Sprintf("reconcile-%s-%d", hostName(), os.Getpid())
	if parts.owner != "" {
		owner = parts.owner
	}
	found, err := outbox.Reconciliation{
		Store: parts.outbox, Owner: owner, Page: parts.rooms.Rooms, Heads: parts.rooms.Heads, Watermarks: parts.persister.AdvanceWatermarks,
		Wait: wait, DryRun: dry,
		Relay: func(ctx context.Context) error {
			fmt.Fprintln(std.err, "gochat: no chat room relays, so this process does")
			return parts.relay(ctx, owner)
		},
		Tell: func(r outbox.Reconciled) {
			if time.Since(told) > progressEvery {
				told = time.Now()
				fmt.Fprintf(std.err, "gochat: %s compared, %d of %s stored\n", count(r.Keys, "room"), r.Stored, count(int(r.Rows), "event"))
			}
		},
	}.Run(ctx)
	fmt.Fprintf(std.out, "%s compared\n", count(found.Keys, "room"))
	if found.Rows == 0 && err == nil {
		fmt.Fprintln(std.out, "everything that was accepted is stored")
	}
	if found.Rows > 0 {
		fmt.Fprintf(std.out, "%s of %s accepted and not stored; %d waited to be published\n",
			count(int(found.Rows), "event"), count(found.Unstored, "room"), found.Waiting)
	}
	if found.Rows > 0 && !dry {
		fmt.Fprintf(std.out, "published again %d, stored %d of %d in %s\n", found.Republished, found.Stored, found.Rows, time.Since(began).Round(time.Millisecond))
	}
	for _, s := range found.Beyond {
		fmt.Fprintf(std.out, "%s %s: stored and never accepted here; was the database restored from an older copy?\n", clean(s.Key), seqRange(s.From, s.To))
	}
	for _, s := range found.Lost {
		fmt.Fprintf(std.out, "%s %s: accepted, and neither in the outbox nor stored\n", clean(s.Key), seqRange(s.From, s.To))
	}
	return reconcileError(err)
}

// reconcileError says what to do.
func reconcileError(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, outbox.ErrUnstored) && errors.Is(err, bus.ErrNotConnected):
		return fmt.Errorf("reconcile: %w", err)
	case errors.Is(err, outbox.ErrUnstored):
		return fmt.Errorf("reconcile: %w; does a persister run, and what does gochat dead list say?", err)
	}
	return fmt.Errorf("reconcile: %w", err)
}

// stored is what an operator's command knows of an installation: what was accepted, what is on its way, what is stored.
type stored struct {
	rooms     store.Inspector
	outbox    outbox.Inspector
	persister interface {
		persister.Store
		persister.Rows
	}
	owner string                                        // whose name a relay must have; empty: any
	relay func(ctx context.Context, owner string) error // publishes what waits until ctx ends
	close func() error
}

// relayBetween runs a relay over a transport until ctx ends, and then says what keeps it from publishing, if anything does.
func (p *stored) relayBetween(ctx context.Context, t bus.Transport, owner string) error {
	quiet := slog.New(slog.DiscardHandler)
	relay, err := outbox.NewRelay(outbox.Options{
		Store: p.outbox, Owner: owner, Shards: events.Shards, ShardOf: events.Shard, Watermarks: p.persister.AdvanceWatermarks, Logger: quiet,
	})
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- relay.Run(ctx) }()
	err = bus.RunRelay(ctx, t, relay, bus.Options{Logger: quiet})
	away := t.Ready()
	return errors.Join(err, away, <-ended)
}
