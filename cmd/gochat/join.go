package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
	"github.com/rafaeldepontes/go-chat/internal/config"
)

const (
	defaultRoom = "lobby"
	// lastWords is how long leaving waits for what was said and is not accepted yet.
	lastWords      = 10 * time.Second
	lastWordsSoon  = 500 * time.Millisecond // when it tells that it waits
	historyTimeout = 10 * time.Second
)

func joinCommand() command {
	return command{
		name: "join", args: "[ROOM]", summary: "joins a room (" + defaultRoom + " without one) to read and write in it",
		setup: func(s *config.Set) runFunc {
			shared := declareClient(s)
			plain := s.Bool("plain", false, "prints lines for a pipe or a file, also on a terminal", config.FlagOnly())
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) > 1 {
					return usagef("join takes one room, not %d words", len(args))
				}
				room := defaultRoom
				if len(args) == 1 {
					room = args[0]
				}
				if err := roomWord(room); err != nil {
					return err
				}
				cfg, err := shared()
				if err != nil {
					return err
				}
				return runJoin(ctx, std, cfg, room, *plain)
			}
		},
	}
}

// talk is a running join.
type talk struct {
	view   *roomView
	client *client.Client
	room   string
	lines  <-chan inputLine
	ended  <-chan error // the client's Run has returned
}

// runJoin returns nil when the user leaves, and an error when the server sends them away or something said was lost.
func runJoin(ctx context.Context, std stdio, cfg clientConfig, room string, plain bool) error {
	stop := make(chan struct{})
	defer close(stop)
	lines := readLines(std.in, stop)
	out := &lockedWriter{w: std.out}
	if cfg.anonymous() {
		name, err := askName(ctx, out, lines)
		if err != nil || name == "" {
			return err
		}
		cfg.name = name
	}
	echo := !plain && isTerminal(std.in) && isTerminal(std.out)
	o := cfg.options("join")
	view := newRoomView(out, room, cfg.user(), cfg.server, echo)
	view.attach(&o)
	c, err := client.New(o)
	if err != nil {
		return err
	}
	if err := c.Join(room, nil); err != nil {
		return err
	}
	// The client outlives ctx by the last words.
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() {
		defer close(ended)
		ended <- c.Run(runCtx)
	}()
	t := &talk{view: view, client: c, room: room, lines: lines, ended: ended}
	err = t.loop(ctx)
	cancel()
	for e := range ended {
		err = errors.Join(err, e)
	}
	return err
}

// askName asks until the name is one. It is empty where the user leaves instead.
func askName(ctx context.Context, out *lockedWriter, lines <-chan inputLine) (string, error) {
	for {
		fmt.Fprint(out, "Your name: ")
		select {
		case <-ctx.Done():
			fmt.Fprintln(out)
			return "", nil
		case l, ok := <-lines:
			if !ok {
				fmt.Fprintln(out)
				return "", errors.New("no name was given; --name NAME or GOCHAT_NAME says it")
			}
			name := strings.TrimSpace(l.text)
			err := userName(name)
			if err == nil && strings.ContainsRune(name, '\uFFFD') {
				err = errors.New("the name has a broken character")
			}
			if err == nil {
				return name, nil
			}
			fmt.Fprintln(out, err)
		}
	}
}

// loop takes the user's lines until the user leaves.
func (t *talk) loop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			t.view.say("")
			return t.leave(context.WithoutCancel(ctx))
		case err := <-t.ended:
			return err
		case l, ok := <-t.lines:
			if !ok {
				return t.leave(ctx)
			}
			quit, err := t.line(ctx, l)
			if err != nil {
				return err
			}
			if quit {
				return t.leave(ctx)
			}
		}
	}
}

// leave waits for what was said last.
func (t *talk) leave(ctx context.Context) error {
	timer, soon := time.NewTimer(lastWords), time.NewTimer(lastWordsSoon)
	defer timer.Stop()
	defer soon.Stop()
	for {
		n := t.view.unsettled()
		if n == 0 {
			return nil
		}
		select {
		case <-t.view.settled:
		case err := <-t.ended:
			return err
		case <-soon.C:
			t.view.say(fmt.Sprintf("waiting until %s accepted; Ctrl-C ends at once", isOrAre(n)))
		case <-ctx.Done():
			return fmt.Errorf("%s not accepted", count(n, "message"))
		case <-timer.C:
			return fmt.Errorf("%s not accepted", count(n, "message"))
		}
	}
}

func isOrAre(n int) string {
	if n == 1 {
		return "1 message is"
	}
	return count(n, "message") + " are"
}

// line acts on one line of the user.
func (t *talk) line(ctx context.Context, l inputLine) (quit bool, err error) {
	text := l.text
	if l.bytes > len(text) {
		t.view.say(fmt.Sprintf("not sent: a message has at most %d bytes, this one has %d", frame.MaxText, l.bytes))
		return false, nil
	}
	if strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") {
		return t.command(ctx, strings.Fields(text))
	}
	text = strings.TrimPrefix(text, "/") // //text says /text
	if strings.TrimSpace(text) == "" {
		return false, nil
	}
	if ferr := client.CheckText(text); ferr != nil {
		t.view.say("not sent: " + ferr.Message)
		return false, nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return false, err
	}
	t.view.sent(id.String())
	_, err = t.client.Submit(ctx, t.room, text, id.String())
	var stopped *client.StoppedError
	switch {
	case err == nil, ctx.Err() != nil, errors.As(err, &stopped): // the loop sees the last two itself
		return false, nil
	default:
		t.view.onRefused(id.String(), &frame.Error{Message: err.Error()})
		return false, nil
	}
}

const commandHelp = `/who            who is here
/history [N]    the N messages before those shown (20)
/quit           leave; so do Ctrl-D and Ctrl-C
/help           this
//text          says /text
Your messages get ✓ when they are accepted: then they are safe. ✓✓ says that they are stored for the history.`

func (t *talk) command(ctx context.Context, words []string) (quit bool, err error) {
	switch name, args := words[0], words[1:]; {
	case name == "/quit" && len(args) == 0:
		return true, nil
	case name == "/who" && len(args) == 0:
		if t.isReady(ctx) {
			t.view.who()
		}
	case name == "/help":
		t.view.say(commandHelp)
	case name == "/history" && len(args) <= 1:
		limit := 20
		if len(args) == 1 {
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 || n > frame.MaxHistory {
				t.view.say(fmt.Sprintf("/history takes a number from 1 to %d", frame.MaxHistory))
				return false, nil
			}
			limit = n
		}
		if t.isReady(ctx) {
			t.history(ctx, limit)
		}
	default:
		t.view.say("no such command: " + clean(strings.Join(words, " ")) + "\n" + commandHelp)
	}
	return false, nil
}

// isReady waits until the room was joined and what was said before is shown, and tells the user where it is not.
func (t *talk) isReady(ctx context.Context) bool {
	timer := time.NewTimer(historyTimeout)
	defer timer.Stop()
	select {
	case <-t.view.ready:
		return true
	case <-ctx.Done():
	case <-timer.C:
		t.view.say("there is no connection yet")
	}
	return false
}

// history shows the page before what was shown. The user's next line waits for it.
func (t *talk) history(ctx context.Context, limit int) {
	ctx, cancel := context.WithTimeoutCause(ctx, historyTimeout, errors.New("the server does not answer"))
	defer cancel()
	var before *int64
	if seq, ok := t.view.before(); ok {
		before = &seq
	}
	evs, _, err := t.client.History(ctx, t.room, nil, before, limit)
	if err != nil {
		t.view.say("no history: " + clean(err.Error()))
		return
	}
	t.view.earlier(evs)
}
