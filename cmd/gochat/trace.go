package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/store"
	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/outbox"
	"github.com/rafaeldepontes/go-chat/persister"
)

// traceMost bounds how many messages one call tells of: an id is its sender's, and two may have the same.
const traceMost = 20

func traceCommand() command {
	return command{
		name: "trace", args: "[ID]", summary: "tells the way of one message: accepted, published, stored, or where it is instead",
		setup: func(s *config.Set) runFunc {
			database, broker, ca := declareDatabase(s), declareBroker(s), declareCA(s)
			data := s.String("data", "", "folder of gochat up, in the place of PostgreSQL and RabbitMQ", config.FlagOnly(), config.Value("DIR"))
			sender := s.String("sender", "", "who sent the id: makes the search quick, which otherwise reads all accepted messages", config.FlagOnly(), config.Value("NAME"))
			room := s.String("room", "", "with --seq, in the place of an id", config.FlagOnly(), config.Value("ROOM"))
			seq := s.Int64("seq", 0, "the message's place in --room", config.FlagOnly(), config.Check(config.AtLeast(1)))
			ask := declareAsked(s)
			asJSON := s.Bool("json", false, "prints an object a line", config.FlagOnly())
			return func(ctx context.Context, std stdio, args []string) error {
				q := store.AcceptedQuery{Sender: *sender, Room: *room, Seq: *seq}
				switch {
				case (*room == "") != (*seq == 0):
					return usagef("trace: --room and --seq go together")
				case len(args) > 1 || len(args) == 0 && *room == "":
					return usagef("trace takes one id, or --room and --seq")
				case len(args) == 1:
					q.ID = args[0]
				}
				parts, err := openStored(ctx, *data, false, database, broker, ca)
				if err != nil {
					return err
				}
				t := &tracer{parts: parts, dead: func() (deadQueue, error) { return openDead(ctx, *data, true, broker(), ca) }}
				if t.ask, err = ask(*data, ca); err != nil {
					return errors.Join(err, parts.close())
				}
				return errors.Join(runTrace(ctx, std, t, q, *asJSON), parts.close())
			}
		},
	}
}

// tracer collects what is known of messages.
type tracer struct {
	parts  *stored
	dead   func() (deadQueue, error)
	ask    *asker
	unread error // why the dead letters could not be looked through
}

// way is the way of one message. A time that is nil is not known; Text tells it to people.
type way struct {
	Room       string       `json:"room"`
	Seq        int64        `json:"seq"`
	ID         string       `json:"id"`
	Sender     string       `json:"sender"`
	Accepted   *time.Time   `json:"accepted,omitempty"`     // by the chat room's clock
	Committed  *time.Time   `json:"committed,omitempty"`    // when the accepting transaction began, by the database's clock
	InOutbox   bool         `json:"in_outbox"`              // its row is there: not stored, or not yet removed
	Published  *time.Time   `json:"published,omitempty"`    // marked after the broker's confirm; known while the row is there
	Attempts   int          `json:"attempts,omitempty"`     // how often it was published and confirmed; likewise
	Stored     *time.Time   `json:"stored,omitempty"`       // by the persister's database's clock
	Steps      []wayStep    `json:"steps"`                  // that the services remember, by time
	Services   []service    `json:"services"`               // that were asked for them
	Watermark  int64        `json:"watermark"`              // through which seq the room is stored without a hole
	Dead       []letterJSON `json:"dead_letters"`           // of its event
	DeadUnread string       `json:"dead_unknown,omitempty"` // why the dead letters could not be read
	Verdict    string       `json:"verdict"`
	Broken     bool         `json:"broken,omitempty"` // accepted, and a promise is broken
}

// runTrace prints the way of each message that fits; none is an error, and so is a broken promise.
func runTrace(ctx context.Context, std stdio, t *tracer, q store.AcceptedQuery, asJSON bool) error {
	ways, err := t.find(ctx, q)
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	if len(ways) == 0 {
		return t.nothing()
	}
	if err := t.follow(ctx, ways); err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	for _, w := range ways {
		line := w.text()
		if asJSON {
			b, err := json.Marshal(w)
			if err != nil {
				return err
			}
			line = string(b) + "\n"
		}
		if _, err := std.out.Write([]byte(line)); err != nil {
			return err
		}
	}
	if len(ways) == traceMost {
		fmt.Fprintf(std.err, "gochat: only the first %d are told; --sender chooses\n", traceMost)
	}
	broken := 0
	for _, w := range ways {
		if w.Broken {
			broken++
		}
	}
	if broken > 0 {
		return fmt.Errorf("trace: the promise of %s is broken; see \"Reconcile\" and \"Backups\" in docs/operations.md", count(broken, "message"))
	}
	return nil
}

// nothing is the error for a message that is nowhere, as far as could be looked.
func (t *tracer) nothing() error {
	const text = "trace: no such message is accepted, in the outbox or stored here"
	if t.unread != nil {
		return fmt.Errorf("%s; the dead letters cannot be read: %s", text, oneLine(t.unread.Error()))
	}
	return errors.New(text + ", or is among the dead letters")
}

// find looks for the messages. By room and seq the stored row or the outbox knows the sender and the id, so that the
// accepted messages need not be searched through; they are only where neither knows.
func (t *tracer) find(ctx context.Context, q store.AcceptedQuery) ([]*way, error) {
	var known *way
	if q.Seq > 0 {
		w, err := t.place(ctx, q)
		if err != nil {
			return nil, err
		}
		if known = w; w != nil {
			if q.ID != "" && q.ID != w.ID || q.Sender != "" && q.Sender != w.Sender {
				return nil, fmt.Errorf("%s #%d is the message %s from %s", clean(q.Room), q.Seq, clean(w.ID), clean(w.Sender))
			}
			q.ID, q.Sender = w.ID, w.Sender
		}
	}
	found, err := t.parts.rooms.FindAccepted(ctx, q, traceMost)
	if err != nil {
		return nil, err
	}
	var ways []*way
	for _, a := range found {
		ways = append(ways, &way{Room: a.Room, Seq: a.Seq, ID: a.ID, Sender: a.Sender, Accepted: &a.SentAt})
	}
	if len(ways) == 0 && known != nil {
		ways = append(ways, known) // stored, and never accepted: somebody else published it
	}
	if len(ways) == 0 {
		return t.foreign(ctx, q)
	}
	return ways, nil
}

// foreign looks for what was never accepted: somebody else published it, and it is stored, or refused.
func (t *tracer) foreign(ctx context.Context, q store.AcceptedQuery) (ways []*way, err error) {
	if q.ID != "" && q.Room == "" {
		places, err := t.parts.persister.Find(ctx, q.Sender, q.ID, traceMost)
		if err != nil {
			return nil, err
		}
		for _, p := range places {
			ways = append(ways, &way{Room: p.Room, Seq: p.Seq, ID: p.ID, Sender: p.Sender})
		}
	}
	t.unread = t.scan(ctx, func(l events.DeadLetter) {
		evs, _ := l.Events()
		for _, e := range evs {
			w := &way{Room: e.Room, Seq: e.Seq, ID: e.ID, Sender: e.From}
			same := func(o *way) bool { return o.Room == w.Room && o.Seq == w.Seq && o.ID == w.ID && o.Sender == w.Sender }
			if (q.ID == "" || q.ID == e.ID) && (q.Sender == "" || q.Sender == e.From) && (q.Room == "" || q.Room == e.Room && q.Seq == e.Seq) &&
				len(ways) < traceMost && !slices.ContainsFunc(ways, same) {
				ways = append(ways, w)
			}
		}
	})
	return ways, nil
}

// scan shows every dead letter. That there is no queue for them is no error.
func (t *tracer) scan(ctx context.Context, each func(events.DeadLetter)) error {
	queue, err := t.dead()
	if err == nil {
		_, err = queue.Scan(ctx, func(l events.DeadLetter) (bus.Verdict, bool) {
			each(l)
			return bus.Keep, true
		})
		err = errors.Join(err, queue.Close())
	}
	if errors.Is(err, bus.ErrNoPoisonQueue) {
		return nil
	}
	return err
}

func (t *tracer) place(ctx context.Context, q store.AcceptedQuery) (*way, error) {
	row, err := t.parts.persister.Row(ctx, q.Room, q.Seq)
	if err == nil {
		return &way{Room: q.Room, Seq: q.Seq, ID: row.ID, Sender: row.Sender}, nil
	}
	if !errors.Is(err, persister.ErrNotStored) {
		return nil, err
	}
	tail, err := t.parts.rooms.Tail(ctx, q.Room, q.Seq-1, q.Seq+1, 1)
	if err != nil || len(tail) == 0 {
		return nil, err
	}
	return &way{Room: q.Room, Seq: q.Seq, ID: tail[0].ID, Sender: tail[0].From}, nil
}

// follow fills in what happened after a message was accepted. The outbox is read before the history: an event leaves the
// one only when it is in the other.
func (t *tracer) follow(ctx context.Context, ways []*way) error {
	for _, w := range ways {
		state, err := t.parts.outbox.State(ctx, w.Room, w.Seq)
		switch {
		case err == nil:
			w.InOutbox, w.Attempts, w.Committed = true, state.Attempts, &state.CreatedAt
			if !state.PublishedAt.IsZero() {
				w.Published = &state.PublishedAt
			}
		case !errors.Is(err, outbox.ErrNoRow):
			return err
		}
		row, err := t.parts.persister.Row(ctx, w.Room, w.Seq)
		switch {
		case err == nil:
			w.Watermark = row.Watermark
			if row.ID == w.ID && row.Sender == w.Sender {
				w.Stored = &row.StoredAt
				w.Verdict, err = t.aboveMark(ctx, w)
				if err != nil {
					return err
				}
			} else {
				w.Verdict = fmt.Sprintf("another event is stored in its place: %s from %s", row.ID, row.Sender)
				w.Broken = w.Accepted != nil
			}
		case errors.Is(err, persister.ErrNotStored):
			if w.Watermark, err = t.parts.persister.Mark(ctx, w.Room); err != nil {
				return err
			}
		default:
			return err
		}
	}
	t.addDead(ctx, ways)
	t.ask.addSteps(ctx, t.parts.installation, ways)
	for _, w := range ways {
		if w.Verdict == "" {
			w.Verdict = w.judge()
		}
	}
	return nil
}

// aboveMark tells what keeps a stored event above its room's watermark, if it is there.
func (t *tracer) aboveMark(ctx context.Context, w *way) (verdict string, err error) {
	if w.Seq <= w.Watermark {
		return "", nil
	}
	_, err = t.parts.persister.Row(ctx, w.Room, w.Watermark+1)
	if errors.Is(err, persister.ErrNotStored) {
		return fmt.Sprintf("stored, but its room has a hole at #%d, so nobody is told yet", w.Watermark+1), nil
	}
	return "stored, and about to be told", err
}

// addDead looks for the messages' dead letters. A broker that is away is said, and is no failure: the rest is known.
func (t *tracer) addDead(ctx context.Context, ways []*way) {
	err := t.scan(ctx, func(l events.DeadLetter) {
		evs, bad := l.Events()
		for _, w := range ways {
			q := deadQuery{event: events.EventID(w.Room, w.Seq)}
			if q.matches(l, evs) {
				look := deadWork{}
				w.Dead = append(w.Dead, look.object(l, evs, bad, bus.Keep))
			}
		}
	})
	for _, w := range ways {
		if w.Dead == nil {
			w.Dead = []letterJSON{}
		}
		if err != nil {
			w.DeadUnread = oneLine(err.Error())
		}
	}
}

// judge says in a few words where the message is.
func (w *way) judge() string {
	switch {
	case w.Stored != nil && w.Accepted == nil:
		return "stored, and never accepted here: somebody else published it"
	case w.Stored != nil:
		return "stored"
	case len(w.Dead) > 0 && w.Accepted == nil:
		return "refused by the persister, and never accepted here: somebody else published it"
	case len(w.Dead) > 0:
		return "refused by the persister; gochat dead show tells more"
	case w.InOutbox && w.Published == nil && w.Attempts > 0:
		return "waits to be published again"
	case w.InOutbox && w.Published == nil:
		return "waits to be published"
	case w.InOutbox:
		return "published and confirmed, not stored yet"
	}
	if w.Accepted == nil {
		return "not accepted here, and not stored any more"
	}
	w.Broken = true
	return "accepted, and neither in the outbox nor stored: a promise is broken"
}
