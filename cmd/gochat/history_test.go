package main

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	historyv1 "github.com/rafaeldepontes/go-chat/proto/history/v1"
)

// pagedHistory has 2,500 events in the room ops, and gives at most 700 a page.
type pagedHistory struct {
	historyv1.UnimplementedHistoryServiceServer
}

func (pagedHistory) ListEvents(_ context.Context, r *historyv1.ListEventsRequest) (*historyv1.ListEventsResponse, error) {
	if r.GetRoom() != "ops" {
		return nil, status.Error(codes.InvalidArgument, "no such\x1b room")
	}
	const last = 2500
	n := min(int64(r.GetLimit()), 700)
	var from, to int64 // from < seq <= to
	switch c := r.GetCursor().(type) {
	case *historyv1.ListEventsRequest_After:
		from, to = c.After, min(c.After+n, last)
	case *historyv1.ListEventsRequest_Before:
		from, to = max(0, c.Before-1-n), c.Before-1
	default:
		from, to = last-n, last
	}
	res := &historyv1.ListEventsResponse{Watermark: last}
	for seq := from + 1; seq <= to; seq++ {
		res.Events = append(res.Events, &historyv1.Event{
			Seq: seq, Kind: "message", Id: fmt.Sprint("m", seq), Sender: "bob", Text: "text",
			SentAt: timestamppb.New(time.Date(2026, 1, 2, 15, 4, 5, 678e6, time.UTC)),
		})
	}
	res.Complete = to == last
	if _, after := r.GetCursor().(*historyv1.ListEventsRequest_After); !after {
		res.Complete = from == 0
	}
	return res, nil
}

func startHistory(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	historyv1.RegisterHistoryServiceServer(s, pagedHistory{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestHistoryPrintsPagesInOrder(t *testing.T) {
	t.Parallel()
	addr := startHistory(t)
	for name, tc := range map[string]struct {
		args     []string
		from, to int
	}{
		"newest":       {nil, 2451, 2500},
		"newest many":  {[]string{"--limit", "2000"}, 501, 2500},
		"all":          {[]string{"--limit", "9999"}, 1, 2500},
		"after":        {[]string{"--after", "10", "--limit", "1500"}, 11, 1510},
		"after to end": {[]string{"--after", "2400", "--limit", "1500"}, 2401, 2500},
		"before":       {[]string{"--before", "1002", "--limit", "1000"}, 2, 1001},
		"nothing":      {[]string{"--before", "1"}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProgram(t, append([]string{"history", "ops", "--history-addr", addr, "--json"}, tc.args...)...)
			if err := p.wait(); err != nil {
				t.Fatal(err)
			}
			var want strings.Builder
			for n := tc.from; n <= tc.to; n++ {
				want.WriteString(eventJSON(int64(n), fmt.Sprint("m", n), "bob", "text") + "\n")
			}
			if p.out.String() != want.String() {
				t.Errorf("got %d lines, want #%d to #%d in order", strings.Count(p.out.String(), "\n"), tc.from, tc.to)
			}
		})
	}
}

func TestHistoryTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	addr := startHistory(t)
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"ops", "--after", "1", "--before", "3"}, 2, "does not go with --before"},
		{[]string{"ops", "--limit", "0"}, 2, "--limit"},
		{[]string{}, 2, "one room"},
		{[]string{"dev"}, 1, "history: no such\uFFFD room"},
		{[]string{"ops", "--history-addr", gone.Addr().String()}, 1, "--history-addr: no history from " + gone.Addr().String() + ": connection refused"},
	} {
		p := startProgram(t, append([]string{"history", "--history-addr", addr}, tc.args...)...)
		if err := p.wait(); exitCode(err) != tc.code || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("history %q: got %v (exit code %d), want %q", tc.args, err, exitCode(err), tc.want)
		}
	}
}
