package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/persister"
)

// crashPoints are the named places on the way of a message at which a process can be told to end, as by kill -9. A test
// that kills at random meets the rare ones too seldom. They stand around the interfaces of the databases and of the relay, so
// that no package knows of them; without --crash-at nothing is wrapped.
var crashPoints = []string{
	"accept-begun",       // a batch is about to be committed
	"accept-committed",   // it is, and nobody was told
	"window-fetched",     // rows are about to be published
	"window-confirmed",   // the broker has them, and the relay does not know
	"window-marked",      // they are marked, or will be
	"stored-removed",     // rows that are stored were removed
	"insert-begun",       // events are about to be stored
	"insert-committed",   // they are, and the broker does not know
	"watermark-advanced", // a mark moved, and nobody was told
}

// crash ends the process at the n-th passage of one point. A nil crash does nothing.
type crash struct {
	point string
	left  atomic.Int64
	log   *slog.Logger
}

func declareCrash(s *config.Set) func(*slog.Logger) *crash {
	at := s.String("crash-at", "", "for tests: the place on a message's way where the process ends as by kill -9, and at which passage, for example accept-committed:3",
		config.Value("POINT:N"), config.Check(config.Optional(checkCrash)))
	return func(log *slog.Logger) *crash {
		if *at == "" {
			return nil
		}
		point, n, _ := strings.Cut(*at, ":")
		c := &crash{point: point, log: log}
		passage, err := strconv.ParseInt(n, 10, 64)
		if err != nil { // no number: the first
			passage = 1
		}
		c.left.Store(passage)
		log.Warn("this process is going to crash on purpose", "at", point, "passage", passage)
		return c
	}
}

func checkCrash(text string) error {
	point, n, counted := strings.Cut(text, ":")
	if !slices.Contains(crashPoints, point) {
		return fmt.Errorf("there is no such point; the points are %s", strings.Join(crashPoints, ", "))
	}
	if passage, err := strconv.ParseInt(n, 10, 64); counted && (err != nil || passage < 1) {
		return fmt.Errorf("the passage must be a number from 1, not %q", n)
	}
	return nil
}

func (c *crash) pass(point string) {
	if point != c.point || c.left.Add(-1) != 0 {
		return
	}
	c.log.Warn("crashing on purpose", "at", point)
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {} // it comes within the next moments
}

func (c *crash) chatStore(s store.Store) store.Store {
	if c == nil {
		return s
	}
	return crashingChat{s, c}
}

func (c *crash) outboxStore(s outbox.Store) outbox.Store {
	if c == nil {
		return s
	}
	return crashingOutbox{s, c}
}

func (c *crash) persisterStore(s persister.Store) persister.Store {
	if c == nil {
		return s
	}
	return crashingPersister{s, c}
}

type crashingChat struct {
	store.Store
	at *crash
}

func (s crashingChat) Accept(ctx context.Context, sends []store.Send) ([]store.Receipt, error) {
	s.at.pass("accept-begun")
	receipts, err := s.Store.Accept(ctx, sends)
	if err == nil {
		s.at.pass("accept-committed")
	}
	return receipts, err
}

type crashingOutbox struct {
	outbox.Store
	at *crash
}

func (s crashingOutbox) Remove(ctx context.Context, stored map[string]int64) (int64, error) {
	n, err := s.Store.Remove(ctx, stored)
	if n > 0 {
		s.at.pass("stored-removed")
	}
	return n, err
}

// crashingSource stands around the relay: of a steady stream its database sees only the end.
type crashingSource struct {
	bus.Source
	at *crash
}

func (c *crash) source(s bus.Source) bus.Source {
	if c == nil {
		return s
	}
	return crashingSource{s, c}
}

func (s crashingSource) Next(ctx context.Context) (outbox.Window, error) {
	w, err := s.Source.Next(ctx)
	if err == nil {
		s.at.pass("window-fetched")
	}
	return w, err
}

func (s crashingSource) Done(ctx context.Context, w outbox.Window) error {
	s.at.pass("window-confirmed")
	err := s.Source.Done(ctx, w)
	if err == nil {
		s.at.pass("window-marked")
	}
	return err
}

type crashingPersister struct {
	persister.Store
	at *crash
}

func (s crashingPersister) Insert(ctx context.Context, evs []events.MessageSent) ([]error, error) {
	s.at.pass("insert-begun")
	errs, err := s.Store.Insert(ctx, evs)
	if err == nil {
		s.at.pass("insert-committed")
	}
	return errs, err
}

func (s crashingPersister) AdvanceWatermarks(ctx context.Context, rooms []string) (map[string]int64, error) {
	marks, err := s.Store.AdvanceWatermarks(ctx, rooms)
	if err == nil {
		s.at.pass("watermark-advanced")
	}
	return marks, err
}
