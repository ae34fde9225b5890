package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/config"
	"github.com/rafaeldepontes/go-chat/internal/flightrecorder"
)

// askTimeout bounds one question to a service.
const askTimeout = 3 * time.Second

// Where services have their admin listeners unless they are told otherwise.
const (
	defaultChatAdmin      = "127.0.0.1:9090" // of chatroom and up
	defaultPersisterAdmin = "127.0.0.1:9091"
)

var errNothingThere = errors.New("nothing listens there")

// asker asks services what they remember.
type asker struct {
	client *http.Client
	bases  []string
	named  bool // by the caller, who then wants to hear what is wrong with them
}

// service is one of which was asked.
type service struct {
	URL     string     `json:"url"`
	Name    string     `json:"service,omitempty"`         // chatroom, persister or up
	Since   *time.Time `json:"remembers_since,omitempty"` // what was before is forgotten
	Unknown string     `json:"unknown,omitempty"`         // why it told nothing
	quiet   bool       // nobody named it, and nothing is there
}

// wayStep is a step that a service remembers.
type wayStep struct {
	URL       string `json:"url"`
	Service   string `json:"service"`
	Duplicate bool   `json:"duplicate,omitempty"` // a delivery that came after the event was stored
	flightrecorder.Step
}

// declareAsked declares which services are asked. With a data folder, that is up alone.
func declareAsked(s *config.Set) func(data string, ca func() (*tls.Config, error)) (*asker, error) {
	named := s.String("admin", "", "admin listeners of the services to ask, all replicas, comma separated; without it http://"+defaultChatAdmin+" and, unless --data, http://"+
		defaultPersisterAdmin, config.Value("URL,URL…"), config.Check(config.Optional(adminURLs)))
	return func(data string, ca func() (*tls.Config, error)) (*asker, error) {
		trust, err := ca()
		if err != nil {
			return nil, err
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = trust
		transport.DisableKeepAlives = true
		a := &asker{client: &http.Client{Transport: transport, Timeout: askTimeout}, bases: config.List(*named)}
		if a.named = len(a.bases) > 0; a.named {
			return a, nil
		}
		transport.Proxy = nil
		a.bases = []string{"http://" + defaultChatAdmin}
		if data == "" {
			a.bases = append(a.bases, "http://"+defaultPersisterAdmin)
		}
		return a, nil
	}
}

func adminURLs(text string) error {
	for i, one := range config.List(text) {
		if err := config.URL("http", "https")(one); err != nil {
			return fmt.Errorf("number %d %w", i+1, err)
		}
	}
	return nil
}

// addSteps asks all services for all of ways, services side by side.
func (a *asker) addSteps(ctx context.Context, installation string, ways []*way) {
	answers := make([][]flightrecorder.Answer, len(a.bases)) // of each service, for each way
	errs := make([]error, len(a.bases))
	var wg sync.WaitGroup
	for i, base := range a.bases {
		wg.Go(func() { answers[i], errs[i] = a.all(ctx, base, installation, ways) })
	}
	wg.Wait()
	for n, w := range ways {
		w.Steps, w.Services = []wayStep{}, []service{}
		var seen []string // processes, which may be named twice
		for i, base := range a.bases {
			base := redactedURL(base)
			if err := errs[i]; err != nil {
				quiet := !a.named && errors.Is(err, errNothingThere)
				w.Services = append(w.Services, service{URL: base, Unknown: oneLine(err.Error()), quiet: quiet})
				continue
			}
			answer := answers[i][n]
			if slices.Contains(seen, answer.Process) {
				continue
			}
			seen = append(seen, answer.Process)
			w.Services = append(w.Services, service{URL: base, Name: answer.Service, Since: &answer.Since})
			for _, s := range answer.Steps {
				w.Steps = append(w.Steps, wayStep{URL: base, Service: answer.Service, Step: s})
			}
		}
		slices.SortStableFunc(w.Steps, func(a, b wayStep) int { return a.Begun.Compare(b.Begun) })
		w.markDuplicates()
	}
}

// all asks one service for each of ways.
func (a *asker) all(ctx context.Context, base, installation string, ways []*way) ([]flightrecorder.Answer, error) {
	answers := make([]flightrecorder.Answer, len(ways))
	for i, w := range ways {
		answer, err := flightrecorder.Ask(ctx, a.client, base, w.Room, w.Seq)
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return nil, errNothingThere
		case err != nil:
			return nil, withoutURL(err)
		case answer.Installation != installation:
			return nil, errors.New("it works on another database")
		}
		answers[i] = answer
	}
	return answers, nil
}

// redactedURL is what may be told of a URL.
func redactedURL(text string) string {
	u, err := url.Parse(text)
	if err != nil { // it was checked
		return "a service"
	}
	return u.Redacted()
}

// withoutURL leaves out what stands before the reason: the URL, which may hold a password, and is told already.
func withoutURL(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// markDuplicates names deliveries that stored nothing new. The time of storing is by another clock than theirs, so the
// first one that was handled well has done it, unless the broker counts an earlier one. SQLite's has whole milliseconds.
func (w *way) markDuplicates() {
	first := true
	for i := range w.Steps {
		s := &w.Steps[i]
		if s.Kind != flightrecorder.KindDelivery || s.Outcome != flightrecorder.OutcomeStored {
			continue
		}
		s.Duplicate = w.Stored != nil && s.Begun.Truncate(time.Millisecond).After(*w.Stored) && (!first || s.Number > 1)
		first = false
	}
}
