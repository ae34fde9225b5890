package flightrecorder

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Path is where [Recorder.Handler] belongs.
const Path = "/trace"

// answerBytes bounds what [Ask] reads: far more than the steps of an event that is published for days.
const answerBytes = 4 << 20

// Answer is what a process remembers of one event.
type Answer struct {
	Service      string    `json:"service"`      // chatroom, persister or up
	Process      string    `json:"process"`      // unlike that of any other process
	Installation string    `json:"installation"` // which database it works on; opaque
	Since        time.Time `json:"remembers_since"`
	Steps        []Step    `json:"steps"` // in the order in which they began
}

// Step is one time that the event was published or handled.
type Step struct {
	Kind    string     `json:"kind"` // publishing or delivery
	Begun   time.Time  `json:"begun"`
	Ended   *time.Time `json:"ended,omitempty"`
	Outcome string     `json:"outcome"`            // under way, failed; of a publishing confirmed; of a delivery stored, refused
	Reason  string     `json:"reason,omitempty"`   // of what failed or was refused
	Number  int        `json:"delivery,omitempty"` // which delivery of its message it is, from 1
	Try     int        `json:"try,omitempty"`      // which try of the delivery, from 1
}

// Kinds and outcomes, as a [Step] has them.
const (
	KindPublishing   = "publishing"
	KindDelivery     = "delivery"
	OutcomeUnderWay  = "under way"
	OutcomeConfirmed = "confirmed"
	OutcomeStored    = "stored"
	OutcomeRefused   = "refused"
	OutcomeFailed    = "failed"
)

// Find tells what is remembered of an event. It looks at every step, under the lock: a quarter of a millisecond when all are there.
func (r *Recorder) Find(room string, seq int64) Answer {
	event := r.hash(room, seq)
	r.mu.Lock()
	defer r.mu.Unlock()
	a := Answer{Service: r.service, Process: r.process, Installation: r.installation, Since: r.started.UTC(), Steps: []Step{}}
	oldest := r.oldest()
	if oldest > 0 {
		a.Since = time.UnixMicro(r.at(oldest).begun).UTC()
	}
	for n := oldest; n < r.next; n++ {
		if s := r.at(n); s.event == event {
			a.Steps = append(a.Steps, r.told(s))
		}
	}
	return a
}

func (r *Recorder) told(s *step) Step {
	t := Step{Begun: time.UnixMicro(s.begun).UTC(), Reason: r.said(s.reason), Number: int(s.number), Try: int(s.try)}
	if s.outcome != UnderWay {
		ended := time.UnixMicro(s.ended).UTC()
		t.Ended = &ended
	}
	done := OutcomeConfirmed
	if t.Kind = KindPublishing; s.kind == Delivery {
		t.Kind, done = KindDelivery, OutcomeStored
	}
	t.Outcome = [...]string{UnderWay: OutcomeUnderWay, Done: done, Refused: OutcomeRefused, Failed: OutcomeFailed}[s.outcome]
	return t
}

// Handler answers GET /trace?event_id=ROOM/SEQ, or ?room=ROOM&seq=SEQ, with an [Answer] as JSON.
func (r *Recorder) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		room, seq, err := asked(q.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(r.Find(room, seq)) // the caller may be gone
	})
}

func asked(q url.Values) (room string, seq int64, err error) {
	room, text := q.Get("room"), q.Get("seq")
	if id := q.Get("event_id"); id != "" {
		at := max(strings.LastIndexByte(id, '/'), 0)
		room, text = id[:at], strings.TrimPrefix(id[at:], "/")
	}
	seq, err = strconv.ParseInt(text, 10, 64)
	if room == "" || err != nil || seq < 1 {
		return "", 0, fmt.Errorf("ask for %s?event_id=ROOM/SEQ or %[1]s?room=ROOM&seq=SEQ", Path)
	}
	return room, seq, nil
}

// Ask asks the process whose admin listener is at base, such as http://127.0.0.1:9090.
func Ask(ctx context.Context, client *http.Client, base, room string, seq int64) (Answer, error) {
	query := url.Values{"room": {room}, "seq": {strconv.FormatInt(seq, 10)}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(base, "/")+Path+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return Answer{}, err
	}
	res, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return Answer{}, fmt.Errorf("%s is answered with %s: is it the admin listener of a gochat service of this version?", Path, res.Status)
	}
	var a Answer
	if err := json.NewDecoder(io.LimitReader(res.Body, answerBytes)).Decode(&a); err != nil || a.Process == "" {
		return Answer{}, fmt.Errorf("%s is not answered as a gochat service does", Path)
	}
	return a, nil
}
