package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/internal/config"
)

// deadQuery says which dead letters are meant. A field that is zero does not choose.
type deadQuery struct {
	keys          []string
	room          string
	reason        string // part of it
	id            string // of the message, as its sender named it
	event         string // ROOM/SEQ
	after, before time.Time
	limit         int
}

// matches judges a letter; evs are those of its events that are readable.
func (q deadQuery) matches(l events.DeadLetter, evs []events.MessageSent) bool {
	holds := func(want string, of func(events.MessageSent) string) bool {
		return want == "" || slices.ContainsFunc(evs, func(e events.MessageSent) bool { return of(e) == want })
	}
	return (len(q.keys) == 0 || slices.Contains(q.keys, l.Key)) &&
		holds(q.room, func(e events.MessageSent) string { return e.Room }) &&
		holds(q.id, func(e events.MessageSent) string { return e.ID }) &&
		(q.event == l.ID || holds(q.event, func(e events.MessageSent) string { return events.EventID(e.Room, e.Seq) })) &&
		strings.Contains(strings.ToLower(l.Reason), strings.ToLower(q.reason)) &&
		(q.after.IsZero() || !l.FirstSeen.Before(q.after)) && (q.before.IsZero() || l.FirstSeen.Before(q.before))
}

// chooses tells whether anything but a number was asked for.
func (q deadQuery) chooses() bool {
	return len(q.keys) > 0 || q.room+q.reason+q.id+q.event != "" || !q.after.IsZero() || !q.before.IsZero()
}

// deadQueue is where the dead letters are: the poison queue of RabbitMQ, or the data folder of up. Scan is that of
// [bus.PoisonQueue].
type deadQueue interface {
	Scan(ctx context.Context, visit func(events.DeadLetter) (v bus.Verdict, more bool)) (bus.Scanned, error)
	Close() error
}

// deadVerbs are the words after dead.
var deadVerbs = map[string]bus.Verdict{"list": bus.Keep, "show": bus.Keep, "replay": bus.Replay, "drop": bus.Drop}

func deadCommand() command {
	return command{
		name: "dead", args: "list|show|replay|drop [KEY…]", summary: "lists, shows, replays or drops events that could not be stored; without --yes nothing changes",
		setup: func(s *config.Set) runFunc {
			broker, ca, database := declareBroker(s), declareCA(s), declareDatabase(s)
			data := s.String("data", "", "folder of gochat up, in the place of RabbitMQ; replay and drop need it stopped", config.FlagOnly(), config.Value("DIR"))
			room := s.String("room", "", "only events of the room", config.FlagOnly(), config.Value("ROOM"))
			reason := s.String("reason", "", "only letters whose reason has the text in it", config.FlagOnly())
			id := s.String("id", "", "only the message with the id, as its sender named it", config.FlagOnly(), config.Value("ID"))
			event := s.String("event", "", "only the event, such as ops/44", config.FlagOnly(), config.Value("ROOM/SEQ"), config.Check(config.Optional(eventName)))
			after := s.String("after", "", "only letters first seen at the time or later: 2026-01-02, 2026-01-02T15:04:05Z, or 2h for two hours ago",
				config.FlagOnly(), config.Value("TIME"), config.Check(config.Optional(pointInTime)))
			before := s.String("before", "", "only letters first seen before the time", config.FlagOnly(), config.Value("TIME"), config.Check(config.Optional(pointInTime)))
			limit := s.Int("limit", 0, "the most letters that are taken, the oldest first (default 0: all)", config.FlagOnly(), config.Check(config.AtLeast(0)))
			asJSON := s.Bool("json", false, "prints an object a line", config.FlagOnly())
			yes := s.Bool("yes", false, "does it: without it replay and drop only tell what they would do", config.FlagOnly())
			all := s.Bool("all", false, "drop everything that is chosen, also the only copy of an accepted message", config.FlagOnly())
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) == 0 {
					return usagef("dead takes a word: list, show, replay or drop")
				}
				verdict, known := deadVerbs[args[0]]
				if !known {
					return usagef("dead takes list, show, replay or drop, not %q", args[0])
				}
				if *yes && verdict == bus.Keep {
					return usagef("dead %s changes nothing: --yes goes with replay and drop", args[0])
				}
				now := time.Now()
				q := deadQuery{keys: args[1:], room: *room, reason: *reason, id: *id, event: *event, limit: *limit}
				q.after, _ = parsePoint(*after, now) // checked above
				q.before, _ = parsePoint(*before, now)
				if verdict == bus.Drop && !q.chooses() && !*all {
					return usagef("dead drop: which letters? name keys or a filter, or say --all")
				}
				w := &deadWork{std: std, verb: args[0], verdict: verdict, query: q, json: *asJSON, yes: *yes, all: *all, began: now}
				queue, err := openDead(ctx, *data, verdict == bus.Keep || !*yes, broker(), ca)
				if err != nil {
					return err
				}
				w.copies = &copies{open: func(ctx context.Context) (store.Inspector, func() error, error) {
					return openAccepted(ctx, *data, database())
				}}
				return errors.Join(w.run(ctx, queue), w.copies.close(), queue.Close())
			}
		},
	}
}

// eventName accepts what names an event, such as ops/44.
func eventName(text string) error {
	room, seq, _ := strings.Cut(text, "/")
	if n, err := strconv.ParseInt(seq, 10, 64); err != nil || n < 1 || room == "" {
		return fmt.Errorf("%q is no event, such as ops/44", text)
	}
	return nil
}

// pointInTime accepts what parsePoint reads.
func pointInTime(text string) error {
	_, err := parsePoint(text, time.Now())
	return err
}

// parsePoint reads a time, or a length of time that is to be taken from now. The empty text is the zero time.
func parsePoint(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.ParseInLocation(layout, text, time.UTC); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a time like 2026-01-02T15:04:05Z (UTC where no zone is named) nor a length like 2h", text)
}
