package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
	"github.com/rafaeldepontes/go-chat/internal/config"
)

// sendConfig is a call of send.
type sendConfig struct {
	clientConfig
	room     string
	text     string // where lines is false
	lines    bool   // a message a line of standard input
	id       string // empty: a new one
	json     bool
	timeout  time.Duration // 0: for ever
	inFlight int
	queueDir string
}

func sendCommand() command {
	return command{
		name: "send", args: "ROOM TEXT… | ROOM -", summary: "sends a message, or one a line of standard input, and waits until it is accepted",
		setup: func(s *config.Set) runFunc {
			shared := declareClient(s)
			id := s.String("id", "", "the message's idempotency key; the same id and text never make a second message", config.FlagOnly(), config.Check(messageID))
			asJSON := s.Bool("json", false, "prints what the server accepted, an object a line", config.FlagOnly())
			timeout := s.Duration("timeout", 30*time.Second, "how long to wait for a server that is away before the rest stays queued; 0: for ever (default 30s)",
				config.FlagOnly(), config.Check(config.NotNegativeDuration))
			inFlight := s.Int("in-flight", 1, "messages sent ahead of their answers; above 1 it is faster, but one that the server puts off may be overtaken (default 1)",
				config.FlagOnly(), config.Check(config.Between(1, client.MaxInFlight)))
			dir := s.String("queue-dir", "", "folder of the messages that wait for a server; without it the user's own", config.Value("DIR"))
			return func(ctx context.Context, std stdio, args []string) error {
				base, err := shared()
				if err != nil {
					return err
				}
				cfg := sendConfig{clientConfig: base, id: *id, json: *asJSON, timeout: *timeout, inFlight: *inFlight, queueDir: *dir}
				if err := cfg.words(args); err != nil {
					return err
				}
				if cfg.queueDir == "" {
					if cfg.queueDir, err = stateDir(std.getenv); err != nil {
						return err
					}
				}
				return runSend(ctx, std, cfg)
			}
		},
	}
}

// words reads what stands on the command line beside the flags.
func (cfg *sendConfig) words(args []string) error {
	switch {
	case len(args) == 0:
		return usagef("send takes a room and a text: gochat send ROOM TEXT…")
	case len(args) == 1:
		return usagef("send takes a text after the room, or - for the lines of standard input")
	case cfg.anonymous():
		return usagef("who sends? give --name or set GOCHAT_NAME")
	}
	if err := roomWord(args[0]); err != nil {
		return err
	}
	cfg.room, cfg.text = args[0], strings.Join(args[1:], " ")
	if cfg.lines = cfg.text == "-"; cfg.lines && cfg.id != "" {
		return usagef("--id goes with one message only")
	}
	if !cfg.lines {
		if ferr := client.CheckText(cfg.text); ferr != nil {
			return fmt.Errorf("not sent: %s", ferr.Message)
		}
	}
	return nil
}

func messageID(text string) error {
	if !frame.ValidID(text) {
		return fmt.Errorf("must have 1 to %d characters", frame.MaxID)
	}
	return nil
}
