package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/internal/config"
	historyv1 "github.com/rafaeldepontes/go-chat/proto/history/v1"
)

// historyQuery is a call of history.
type historyQuery struct {
	room          string
	after, before int64 // -1: not given
	limit         int
	json          bool
	timeout       time.Duration
}

// historyPage is the most that is asked for at once; the service bounds a page too.
const historyPage = 1000

func historyCommand() command {
	return command{
		name: "history", args: "ROOM", summary: "asks the history service for stored messages",
		setup: func(s *config.Set) runFunc {
			ca := declareCA(s)
			service := declareHistory(s, ca)
			after := s.Int64("after", -1, "the first ones above this seq", config.FlagOnly(), config.Check(config.AtLeast(0)))
			before := s.Int64("before", -1, "the last ones below this seq", config.FlagOnly(), config.Check(config.AtLeast(1)))
			limit := s.Int("limit", 50, "the most that are wanted (default 50)", config.FlagOnly(), config.Check(config.AtLeast(1)))
			asJSON := s.Bool("json", false, "prints an object a line", config.FlagOnly())
			timeout := s.Duration("timeout", 10*time.Second, "how long to wait for the service (default 10s)", config.FlagOnly(), config.Check(config.PositiveDuration))
			s.Rule("after", []string{"before"}, func() error {
				if *after >= 0 && *before >= 0 {
					return errors.New("does not go with --before")
				}
				return nil
			})
			return func(ctx context.Context, std stdio, args []string) error {
				if len(args) != 1 {
					return usagef("history takes one room")
				}
				if err := roomWord(args[0]); err != nil {
					return err
				}
				to, err := service()
				if err != nil {
					return err
				}
				return runHistory(ctx, std, to, historyQuery{args[0], *after, *before, *limit, *asJSON, *timeout})
			}
		},
	}
}

// runHistory prints what the service has, in seq order. A query of several pages that fails in the middle prints nothing
// when it goes backwards, and a beginning when it goes forwards.
func runHistory(ctx context.Context, std stdio, to historyConfig, q historyQuery) error {
	conn, err := grpc.NewClient(to.addr, grpc.WithTransportCredentials(to.credentials), grpc.WithUserAgent("gochat"))
	if err != nil {
		return fmt.Errorf("%s: %w", to.origin, err)
	}
	defer conn.Close()
	service := historyv1.NewHistoryServiceClient(conn)
	var backwards []*historyv1.Event // pages come newest first
	for left := q.limit; left > 0; {
		req := &historyv1.ListEventsRequest{Room: q.room, Limit: int32(min(left, historyPage))}
		if q.after >= 0 {
			req.Cursor = &historyv1.ListEventsRequest_After{After: q.after}
		} else if q.before >= 0 {
			req.Cursor = &historyv1.ListEventsRequest_Before{Before: q.before}
		}
		callCtx, cancel := context.WithTimeout(ctx, q.timeout)
		page, err := service.ListEvents(callCtx, req, grpc.WaitForReady(false))
		cancel()
		if err != nil {
			return historyError(ctx, to, err)
		}
		evs := page.GetEvents()
		left -= len(evs)
		if q.after >= 0 {
			if err := printHistory(std, q, evs); err != nil {
				return err
			}
		} else {
			backwards = append(slices.Clone(evs), backwards...)
		}
		if page.GetComplete() || len(evs) == 0 {
			break
		}
		if q.after >= 0 {
			q.after = evs[len(evs)-1].GetSeq()
		} else {
			q.before = evs[0].GetSeq()
		}
	}
	return printHistory(std, q, backwards)
}

func printHistory(std stdio, q historyQuery, evs []*historyv1.Event) error {
	now := time.Now()
	for _, e := range evs {
		f := frame.Event{
			Seq: e.GetSeq(), Kind: e.GetKind(), ID: e.GetId(), From: e.GetSender(), SentAt: e.GetSentAt().AsTime(), Text: e.GetText(),
		}
		line := fmt.Appendf(nil, "#%d %s", f.Seq, eventLine(f, now))
		if q.json {
			line = frame.Encode(f)
		}
		if _, err := std.out.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// historyError turns a gRPC status into a line for a person.
func historyError(ctx context.Context, to historyConfig, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch s.Code() {
	case codes.Unavailable:
		return fmt.Errorf("%s: no history from %s: %s", to.origin, to.addr, dialReason(s.Message()))
	case codes.DeadlineExceeded:
		return fmt.Errorf("%s: %s does not answer in time", to.origin, to.addr)
	default:
		return fmt.Errorf("history: %s", clean(s.Message()))
	}
}

// dialReason takes the layers of gRPC off the reason why a service cannot be reached.
func dialReason(message string) string {
	const dialing = "Error while dialing: "
	if _, rest, ok := strings.Cut(message, dialing); ok {
		message = rest[strings.LastIndex(rest, ": ")+1:]
	}
	message = strings.TrimPrefix(message, "connection error: desc = ")
	return clean(strings.Trim(message, `" `))
}
