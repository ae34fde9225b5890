package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
	"github.com/rafaeldepontes/go-chat/internal/config"
)

// tailConfig is a call of tail.
type tailConfig struct {
	clientConfig
	room   string
	after  *int64
	until  int64 // 0: for ever
	json   bool
	verify bool
}

func tailCommand() command {
	return command{
		name: "tail", args: "ROOM", summary: "follows a room",
		setup: func(s *config.Set) runFunc {
			shared := declareClient(s)
			after := s.Int64("after", -1, "the last seq that you have; 0: from the start; without it the last 50 come first", config.FlagOnly(), config.Check(config.AtLeast(0)))
			until := s.Int64("until", 0, "ends once this seq was printed", config.FlagOnly(), config.Check(config.AtLeast(1)))
			asJSON := s.Bool("json", false, "prints each event as it was on the wire, one a line", config.FlagOnly())
			verify := s.Bool("verify", false, "fails on a gap, a duplicate, a wrong order or a missing event", config.FlagOnly())
			s.Rule("until", []string{"after"}, func() error {
				if *until > 0 && *until <= *after {
					return fmt.Errorf("#%d is not after #%d", *until, *after)
				}
				return nil
			})
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) != 1 {
					return usagef("tail takes one room")
				}
				if err := roomWord(args[0]); err != nil {
					return err
				}
				base, err := shared()
				if err != nil {
					return err
				}
				cfg := tailConfig{clientConfig: base, room: args[0], until: *until, json: *asJSON, verify: *verify}
				if *after >= 0 {
					cfg.after = after
				}
				return runTail(ctx, std, cfg)
			}
		},
	}
}

// errReached ends a tail that has printed what it was asked for.
var errReached = errors.New("reached")

// runTail prints until ctx ends, --until is reached, or something is wrong.
func runTail(parent context.Context, std stdio, cfg tailConfig) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	if cfg.anonymous() {
		cfg.name = fmt.Sprintf("tail-%04x", rand.N(1<<16))
	}
	o := cfg.options("tail")
	o.OnState = tellStates(func(line string) { fmt.Fprintln(std.err, line) }, cfg.server)
	o.OnError = func(e *frame.Error) {
		if !e.Retry {
			cancel(fmt.Errorf("%s: %s", cfg.room, clean(e.Message)))
		}
	}
	o.OnJoined = func(j frame.Joined) {
		if j.Reset {
			fmt.Fprintf(std.err, "the server does not know the place asked for; the last messages up to #%d follow\n", j.Head)
		}
	}
	show := func(seq int64, line []byte) {
		if ctx.Err() != nil {
			return
		}
		if cfg.until > 0 && seq > cfg.until {
			cancel(fmt.Errorf("#%d lies before what was asked for; name a lower --after", cfg.until))
			return
		}
		if _, err := std.out.Write(append(line, '\n')); err != nil {
			cancel(err)
			return
		}
		if seq == cfg.until {
			cancel(errReached)
		}
	}
	if cfg.json {
		var raw json.RawMessage
		o.OnRawEvent = func(_ string, b json.RawMessage) { raw = b }
		o.OnEvent = func(_ string, e frame.Event) { show(e.Seq, raw) }
	} else {
		o.OnEvent = func(_ string, e frame.Event) {
			show(e.Seq, fmt.Appendf(nil, "#%d %s", e.Seq, eventLine(e, time.Now())))
		}
	}
	var judge *verifier
	if cfg.verify {
		judge = newVerifier(cfg.room)
		tell := o.OnState
		o.OnState = func(st client.State) {
			if !st.Connected {
				judge.disconnected()
			}
			tell(st)
		}
		o.OnFrame = func(sent bool, raw []byte) {
			if err := judge.observe(sent, raw, time.Now()); err != nil {
				cancel(err)
			}
		}
	}
	c, err := client.New(o)
	if err != nil {
		return err
	}
	if err := c.Join(cfg.room, cfg.after); err != nil {
		return err
	}
	if judge != nil {
		watching := make(chan struct{})
		go func() {
			defer close(watching)
			judge.watch(ctx, cancel)
		}()
		defer func() { cancel(nil); <-watching }()
	}
	err = c.Run(ctx)
	if judge != nil {
		summary, bad := judge.result(cfg.until)
		if bad != nil {
			return fmt.Errorf("%s is not as promised: %w", cfg.room, bad)
		}
		if err == nil && (parent.Err() != nil || errors.Is(context.Cause(ctx), errReached)) {
			fmt.Fprintln(std.err, summary)
		}
	}
	switch cause := context.Cause(ctx); {
	case err != nil:
		return err
	case errors.Is(cause, errReached):
		return nil
	case parent.Err() != nil && cfg.until > 0:
		return fmt.Errorf("interrupted before #%d", cfg.until)
	case parent.Err() != nil:
		return nil
	default:
		return cause
	}
}

// watch looks for what does not come.
func (v *verifier) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if err := v.stalled(now); err != nil {
				cancel(err)
				return
			}
		}
	}
}

// tellStates makes a client's OnState that tells a person of a lost and a found connection, once each.
func tellStates(say func(string), server string) func(client.State) {
	connectedOnce, away := false, false
	return func(s client.State) {
		var stopped *client.StoppedError
		switch {
		case s.Connected:
			if away {
				if connectedOnce {
					say("connected again")
				} else {
					say("connected")
				}
			}
			connectedOnce, away = true, false
		case errors.As(s.Err, &stopped): // the command ends with it
		case !away && connectedOnce:
			away = true
			say("connection lost (" + connectionText(s.Err) + "); trying again…")
		case !away:
			away = true
			say("cannot reach " + serverName(server) + " (" + connectionText(s.Err) + "); trying again…")
		}
	}
}
