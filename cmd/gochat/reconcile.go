package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/internal/compare"
	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/persister"
)

func reconcileCommand() command {
	return command{
		name: "reconcile", summary: "publishes again what is accepted and not stored, waits until it is, and names what is missing",
		setup: func(s *config.Set) runFunc {
			database, broker, ca := declareDatabase(s), declareBroker(s), declareCA(s)
			data := s.String("data", "", "folder of gochat up, in the place of PostgreSQL and RabbitMQ; it must be stopped, unless --dry-run is there", config.FlagOnly(), config.Value("DIR"))
			wait := s.Duration("wait", time.Minute, "how long the events may take to be stored (default 1m)", config.FlagOnly(), config.Check(config.PositiveDuration))
			dry := s.Bool("dry-run", false, "only compares, also beside a running gochat up", config.FlagOnly())
			deep := s.Bool("deep", false, "counts all stored rows, to find holes; without it the first million", config.FlagOnly())
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) > 0 {
					return usagef("reconcile takes no words: %q", args[0])
				}
				parts, err := openStored(ctx, *data, !*dry, database, broker, ca)
				if err != nil {
					return err
				}
				return errors.Join(runReconcile(ctx, std, parts, *wait, *dry, *deep), parts.close())
			}
		},
	}
}

// runReconcile compares and, unless dry, mends.
func runReconcile(ctx context.Context, std stdio, parts *stored, wait time.Duration, dry, deep bool) error {
	began := time.Now()
	told := began
	r := compare.Reconciliation(parts.rooms, parts.outbox, parts.persister)
	if deep {
		r.CountRows = -1
	}
	if !dry {
		r.DryRun, r.Watermarks, r.Wait = false, parts.persister.AdvanceWatermarks, wait
	}
	r.Owner = cmp.Or(parts.owner, fmt.Sprintf("reconcile-%s-%d", hostName(), os.Getpid()))
	r.Relay = func(ctx context.Context) error {
		fmt.Fprintln(std.err, "gochat: no chat room relays, so this process does")
		return parts.relay(ctx, r.Owner)
	}
	r.Tell = func(f outbox.Reconciled) {
		if time.Since(told) > progressEvery {
			told = time.Now()
			fmt.Fprintf(std.err, "gochat: %s compared, %d of %s stored\n", count(f.Keys, "room"), f.Stored, count(int(f.Rows), "event"))
		}
	}
	found, err := r.Run(ctx)
	var b strings.Builder
	fmt.Fprintf(&b, "%s compared, %s counted\n", count(found.Keys, "room"), count(int(found.Counted), "stored event"))
	if found.Uncounted > 0 {
		fmt.Fprintf(&b, "not counted: those of %s, where a hole would not be seen; --deep counts all\n", count(found.Uncounted, "room"))
	}
	switch {
	case found.Rows > 0:
		fmt.Fprintf(&b, "%s of %s accepted and not stored; %d waited to be published\n",
			count(int(found.Rows), "event"), count(found.Unstored, "room"), found.Waiting)
		if !dry {
			fmt.Fprintf(&b, "published again %d, stored %d of %d in %s\n", found.Published, found.Stored, found.Rows, time.Since(began).Round(time.Millisecond))
		}
	case err == nil:
		b.WriteString("everything that was accepted is stored\n")
	}
	for _, s := range found.Beyond {
		fmt.Fprintf(&b, "%s %s: stored and never accepted here; was the database restored from an older copy, or does somebody else publish?\n",
			clean(s.Key), seqRange(s.From, s.To))
	}
	for _, s := range found.Lost {
		fmt.Fprintf(&b, "%s %s: accepted, and neither in the outbox nor stored\n", clean(s.Key), seqRange(s.From, s.To))
	}
	for _, s := range found.Holes {
		fmt.Fprintf(&b, "%s %s: accepted, stored once, and gone from the history\n", clean(s.Key), seqRange(s.From, s.To))
	}
	_, werr := std.out.Write([]byte(b.String()))
	return errors.Join(reconcileError(found, err), werr)
}

// reconcileError says in one line what is wrong and what to do.
func reconcileError(found outbox.Reconciled, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var texts []string
	if errors.Is(err, outbox.ErrLost) {
		missing := int64(0)
		for _, s := range slices.Concat(found.Lost, found.Holes) {
			missing += s.To - s.From + 1
		}
		texts = append(texts, count(int(missing), "accepted event")+" missing: restore the databases from a backup, see \"Backups\" in docs/operations.md")
	}
	for _, e := range flat(err) {
		if text := oneLine(e.Error()); !errors.Is(e, outbox.ErrLost) && !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	if errors.Is(err, outbox.ErrUnstored) && !errors.Is(err, bus.ErrNotConnected) {
		texts = append(texts, "does a persister run, and what does gochat dead list say?")
	}
	return errors.New("reconcile: " + strings.Join(texts, "; "))
}

// flat is the errors that were joined, in their order.
func flat(err error) (all []error) {
	joined, is := err.(interface{ Unwrap() []error }) // only what stands at the top is taken apart
	if !is {
		return []error{err}
	}
	for _, e := range joined.Unwrap() {
		all = append(all, flat(e)...)
	}
	return all
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
	// installation is what the services that work on it call it, as far as it is known.
	installation string
}

// relayBetween runs a relay over a transport until ctx ends, and then says what keeps it from publishing, if anything does.
func (p *stored) relayBetween(ctx context.Context, t bus.Transport, owner string) error {
	quiet := slog.New(slog.DiscardHandler)
	relay, err := outbox.NewRelay(outbox.Options{
		Store: p.outbox, Owner: owner, Shards: events.Shards, ShardOf: events.Shard, Watermarks: p.persister.AdvanceWatermarks, Logger: quiet,
		ReleaseWithin: outbox.DefaultLeaseTTL, // what is not given back rests for as long, while a chat room may wait for it
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
