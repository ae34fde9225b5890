package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
)

// readAhead bounds the lines that are written down while the server is away or slow.
const readAhead = 10_000

// sender brings messages from the command line, or from standard input, over the queue on disk to the server. A message
// is in the queue before its first try and leaves it when it is accepted or refused for good.
type sender struct {
	cfg    sendConfig
	std    stdio
	queue  *client.Queue
	client *client.Client
	rooms  *visits

	// Owned by the goroutine of read; read by others once written is closed.
	bad     int // lines that cannot be sent
	whole   bool
	readErr error

	// Owned by the goroutine of collect.
	accepted, earlier, refused int
	progress                   io.Writer // nil: none
	told                       time.Time

	away atomic.Bool // there is no connection
}

// onWay is a message that was given to the client.
type onWay struct {
	client.Queued
	sending *client.Sending // nil where the client refused it
	err     error
	earlier bool
}

// runSend returns nil when everything was accepted.
func runSend(parent context.Context, std stdio, cfg sendConfig) error {
	queue, left, err := client.OpenQueue(cfg.queueDir, cfg.server, cfg.user())
	if err != nil {
		return err
	}
	for _, m := range left {
		if m.ID == cfg.id && (m.Room != cfg.room || m.Text != cfg.text) {
			return fmt.Errorf("--id: %s is that of a queued message with another text or room", clean(cfg.id))
		}
	}
	terminal := isTerminal(std.err)
	std.err = &lockedWriter{w: std.err}
	s := &sender{cfg: cfg, std: std, queue: queue}
	if cfg.lines && !cfg.json && terminal {
		s.progress = std.err
	}
	o := cfg.options("send")
	o.InFlight = cfg.inFlight
	tell := tellStates(func(line string) { s.endProgress(); fmt.Fprintln(std.err, line) }, cfg.server)
	o.OnState = func(st client.State) {
		s.away.Store(!st.Connected)
		tell(st)
	}
	s.away.Store(true)
	if s.client, err = client.New(o); err != nil {
		return err
	}
	s.rooms = newVisits(s.client)
	return s.run(parent, left)
}

// run lets the parts work and stops them in order: reading and writing down, handing to the client, collecting answers.
func (s *sender) run(parent context.Context, left []client.Queued) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	ran := make(chan error, 1)
	go func() {
		err := s.client.Run(ctx)
		cancel(err) // a stop code
		ran <- err
	}()
	written := make(chan client.Queued, readAhead)
	go func() {
		defer close(written)
		s.read(ctx, written)
	}()
	ways := make(chan onWay, readAhead)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		defer close(ways)
		if err := s.feed(ctx, left, written, ways); err != nil {
			cancel(err)
		}
	}()
	err := s.collect(ctx, ways)
	if err == nil {
		err = context.Cause(ctx)
	}
	cancel(err)
	<-fed
	for range written { // nobody sends these now; they are in the queue
	}
	stopped := <-ran
	s.endProgress()
	if stopped != nil {
		err = stopped
	}
	return s.verdict(parent, err)
}

// read writes every message down and passes it on.
func (s *sender) read(ctx context.Context, written chan<- client.Queued) {
	if !s.cfg.lines {
		s.whole = true
		s.readErr = s.put(ctx, written, []client.Queued{s.message(s.cfg.text, s.cfg.id)})
		return
	}
	lines := readLines(s.std.in, ctx.Done())
	for open := true; open; {
		var batch []client.Queued
		take := func(l inputLine, ok bool) {
			if open = ok; !ok || l.bytes == 0 {
				return
			}
			text := l.text
			ferr := client.CheckText(text)
			if l.bytes > len(text) {
				ferr = frame.Errorf(frame.TooLarge, "", "text is at most %d bytes, this one has %d", frame.MaxText, l.bytes)
			}
			switch {
			case ferr == nil:
				batch = append(batch, s.message(text, ""))
			case strings.TrimSpace(text) == "" && l.bytes == len(text): // a blank line
			default:
				s.bad++
				fmt.Fprintf(s.std.err, "gochat: line %d not sent: %s\n", l.number, ferr.Message)
			}
		}
		select {
		case l, ok := <-lines:
			take(l, ok)
		case <-ctx.Done():
			return
		}
		// One fsync for all lines that are there already.
		for more := true; more && open && len(batch) < 256; {
			select {
			case l, ok := <-lines:
				take(l, ok)
			default:
				more = false
			}
		}
		if len(batch) == 0 {
			continue
		}
		if s.readErr = s.put(ctx, written, batch); s.readErr != nil {
			return
		}
	}
	s.whole = ctx.Err() == nil || s.whole
}

func (s *sender) message(text, id string) client.Queued {
	if id == "" {
		id = uuid.Must(uuid.NewV7()).String()
	}
	return client.Queued{ID: id, Room: s.cfg.room, Text: text, At: time.Now().UTC()}
}

// put writes down, then passes on. What ctx keeps from being passed on is in the queue all the same.
func (s *sender) put(ctx context.Context, written chan<- client.Queued, batch []client.Queued) error {
	if err := s.queue.Add(batch...); err != nil {
		return err
	}
	for _, m := range batch {
		select {
		case written <- m:
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

// feed gives the client what earlier calls left, then what this one reads. It returns why that ended early.
func (s *sender) feed(ctx context.Context, left []client.Queued, written <-chan client.Queued, ways chan<- onWay) error {
	before := make(map[string]bool, len(left))
	give := func(m client.Queued, earlier bool) error {
		if err := s.rooms.enter(ctx, m.Room); err != nil {
			return err
		}
		sending, err := s.client.Submit(ctx, m.Room, m.Text, m.ID)
		var ferr *frame.Error
		if err != nil && !errors.As(err, &ferr) {
			return err
		}
		select {
		case ways <- onWay{m, sending, err, earlier}:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for _, m := range left {
		before[m.ID] = true
		if err := give(m, m.ID != s.cfg.id); err != nil {
			return err
		}
	}
	for m := range written {
		if before[m.ID] { // --id of a message that waited already
			continue
		}
		if err := give(m, false); err != nil {
			return err
		}
	}
	return nil
}

// collect waits for the answers in order. It ends at the end of ways, or with the reason to leave the rest queued.
func (s *sender) collect(ctx context.Context, ways <-chan onWay) error {
	for {
		var w onWay
		select {
		case next, ok := <-ways:
			if !ok {
				return nil
			}
			w = next
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := s.await(ctx, w); err != nil {
			return err
		}
		s.rooms.done(w.Room)
	}
}

// errAway ends a send whose server was away for too long.
var errAway = errors.New("the server does not answer")

func (s *sender) await(ctx context.Context, w onWay) error {
	waitCtx := ctx
	if s.cfg.timeout > 0 {
		var cancel context.CancelFunc
		waitCtx, cancel = context.WithTimeoutCause(ctx, s.cfg.timeout, errAway)
		defer cancel()
	}
	var a frame.Accepted
	err := w.err
	if err == nil {
		a, err = w.sending.Wait(waitCtx)
	}
	var ferr *frame.Error
	switch {
	case err == nil:
		s.accepted++
		if w.earlier {
			s.earlier++
		}
		s.tell(w, a)
	case errors.As(err, &ferr):
		s.refused++
		s.endProgress()
		fmt.Fprintf(s.std.err, "gochat: not accepted: %s (id %s)\n", clean(ferr.Message), w.ID)
	default:
		return err
	}
	return s.queue.Done(w.ID)
}

func (s *sender) tell(w onWay, a frame.Accepted) {
	a.Type = frame.TypeAccepted
	switch {
	case s.cfg.json:
		fmt.Fprintf(s.std.out, "%s\n", frame.Encode(a))
	case w.earlier || s.cfg.lines:
		if now := time.Now(); s.progress != nil && now.Sub(s.told) > 100*time.Millisecond {
			s.told = now
			fmt.Fprintf(s.progress, "\r\x1b[K%d accepted", s.accepted)
		}
	default:
		fmt.Fprintf(s.std.out, "✓ %s #%d\n", a.Room, a.Seq)
	}
}

// endProgress takes the progress off its line.
func (s *sender) endProgress() {
	if s.progress != nil {
		fmt.Fprint(s.progress, "\r\x1b[K")
	}
}

// verdict tells what became of all.
func (s *sender) verdict(parent context.Context, err error) error {
	left, closeErr := s.queue.Close()
	if s.earlier > 0 {
		fmt.Fprintf(s.std.err, "%s queued by earlier calls went out first\n", count(s.earlier, "message"))
	}
	if s.cfg.lines && !s.cfg.json {
		fmt.Fprintf(s.std.out, "%s accepted\n", count(s.accepted-s.earlier, "message"))
	}
	if n := len(left); n > 0 {
		verb := "they go"
		if n == 1 {
			verb = "it goes"
		}
		fmt.Fprintf(s.std.err, "%s queued; %s out with the next gochat send of the same sender to this server\n", count(n, "message"), verb)
	}
	if !s.whole && s.readErr == nil {
		fmt.Fprintln(s.std.err, "standard input was not read to its end")
	}
	switch {
	case s.readErr != nil:
		return s.readErr
	case err != nil && parent.Err() != nil:
		return errors.New("interrupted")
	case errors.Is(err, errAway) && s.away.Load():
		return fmt.Errorf("%s was not reached within %s", serverName(s.cfg.server), s.cfg.timeout)
	case errors.Is(err, errAway):
		return fmt.Errorf("%s did not answer within %s", serverName(s.cfg.server), s.cfg.timeout)
	case err != nil:
		return err
	case closeErr != nil:
		return closeErr
	case s.refused > 0:
		return fmt.Errorf("%s not accepted", count(s.refused, "message"))
	case s.bad > 0:
		return fmt.Errorf("%s not sent", count(s.bad, "line"))
	}
	return nil
}
