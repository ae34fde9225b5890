package persister_test

import (
	"context"
	"errors"
	"math"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
	historyv1 "github.com/rafaeldepontes/go-chat/proto/history/v1"
)

// serve starts a history server on a loopback port and returns a client; both end with the test.
func serve(tb testing.TB, store persister.Store, o persister.HistoryOptions) historyv1.HistoryServiceClient {
	tb.Helper()
	o.Logger = quiet()
	h := persister.NewHistoryServer(store, o)
	s := persister.NewGRPCServer(persister.GRPCOptions{Logger: quiet()})
	h.Register(s)
	client, stop := listen(tb, s, h.Stop)
	tb.Cleanup(stop)
	return client
}

// listen serves s; stop ends it and waits.
func listen(tb testing.TB, s *grpc.Server, onStop func()) (client historyv1.HistoryServiceClient, stop func()) {
	tb.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- persister.ServeGRPC(ctx, s, lis, 5*time.Second, onStop) }()
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	return historyv1.NewHistoryServiceClient(conn), func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("serve: %v, want nil", err)
		}
		if err := conn.Close(); err != nil {
			tb.Error(err)
		}
	}
}

func after(room string, seq int64, limit int32) *historyv1.ListEventsRequest {
	return &historyv1.ListEventsRequest{Room: room, Cursor: &historyv1.ListEventsRequest_After{After: seq}, Limit: limit}
}

func before(room string, seq int64, limit int32) *historyv1.ListEventsRequest {
	return &historyv1.ListEventsRequest{Room: room, Cursor: &historyv1.ListEventsRequest_Before{Before: seq}, Limit: limit}
}

// received are the events of an answer in the form of the tests.
func received(room string, evs []*historyv1.Event) []events.MessageSent {
	out := make([]events.MessageSent, 0, len(evs))
	for _, e := range evs {
		out = append(out, events.MessageSent{
			Room: room, Seq: e.GetSeq(), Kind: e.GetKind(), ID: e.GetId(), From: e.GetSender(), Text: e.GetText(), SentAt: e.GetSentAt().AsTime(),
		})
	}
	return out
}

func TestListEvents(t *testing.T) {
	t.Parallel()
	for name, fresh := range databases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fresh(t)
			s := db.Open(t)
			client := serve(t, s, persister.HistoryOptions{})
			insertAll(t, s, storetest.Events("ops", 1, 250))
			insertAll(t, s, storetest.Events("ops", 252, 260))
			for _, c := range []struct {
				name        string
				request     *historyv1.ListEventsRequest
				first, last int64
				complete    bool
			}{
				{"after", after("ops", 10, 5), 11, 15, false},
				{"after, to the watermark", after("ops", 240, 100), 241, 250, true},
				{"after, default limit", after("ops", 0, 0), 1, 100, false},
				{"after, largest limit", after("ops", 0, 1000), 1, 250, true},
				{"before", before("ops", 10, 5), 5, 9, false},
				{"before, to the start", before("ops", 10, 50), 1, 9, true},
				{"before, above the watermark", before("ops", 260, 5), 246, 250, false},
				{"newest", &historyv1.ListEventsRequest{Room: "ops", Limit: 3}, 248, 250, false},
			} {
				r, err := client.ListEvents(t.Context(), c.request)
				if err != nil {
					t.Fatalf("%s: %v", c.name, err)
				}
				if diff := cmp.Diff(storetest.Events("ops", c.first, c.last), received("ops", r.GetEvents())); diff != "" {
					t.Errorf("%s: %s", c.name, diff)
				}
				if r.GetWatermark() != 250 || r.GetComplete() != c.complete {
					t.Errorf("%s: watermark %d, complete %v; want 250, %v", c.name, r.GetWatermark(), r.GetComplete(), c.complete)
				}
			}
			r, err := client.ListWatermarks(t.Context(), &historyv1.ListWatermarksRequest{Rooms: []string{"ops", "nobody", "ops"}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(map[string]int64{"ops": 250, "nobody": 0}, r.GetWatermarks()); diff != "" {
				t.Error(diff)
			}
			if r, err := client.ListWatermarks(t.Context(), &historyv1.ListWatermarksRequest{}); err != nil || len(r.GetWatermarks()) != 0 {
				t.Errorf("watermarks of no rooms: %v, %v", r, err)
			}
		})
	}
}

// The largest events there can be still make pages that a client takes with its default bounds.
func TestPageFitsIntoAMessage(t *testing.T) {
	t.Parallel()
	s := &memory{}
	client := serve(t, s, persister.HistoryOptions{})
	evs := storetest.Events("large", 1, 20)
	for i := range evs {
		evs[i].Text = strings.Repeat("x", persister.MaxEventBytes-1000)
	}
	insertAll(t, s, evs)
	insertAll(t, s, storetest.Events("small", 1, 1000))
	for _, room := range []string{"large", "small"} {
		for next, complete := int64(0), false; !complete; {
			r, err := client.ListEvents(t.Context(), after(room, next, 1000))
			if err != nil {
				t.Fatal(err)
			}
			complete = r.GetComplete()
			next = r.GetEvents()[len(r.GetEvents())-1].GetSeq()
		}
	}
}

func TestHostileRequestIsInvalidArgument(t *testing.T) {
	t.Parallel()
	s := &memory{}
	client := serve(t, s, persister.HistoryOptions{})
	insertAll(t, s, storetest.Events("ops", 1, 3))
	var requests []*historyv1.ListEventsRequest
	for _, room := range []string{"", " ", "a b", "a/b", "ö", "a\x00", "'; DROP TABLE messages --", "a\n", strings.Repeat("a", 65), "%", "*"} {
		requests = append(requests, after(room, 0, 1), before(room, 5, 1), &historyv1.ListEventsRequest{Room: room})
	}
	requests = append(requests,
		after("ops", -1, 1), after("ops", math.MinInt64, 1), before("ops", 0, 1), before("ops", -1, 1), before("ops", math.MinInt64, 1),
		after("ops", 0, -1), after("ops", 0, math.MinInt32), after("ops", 0, 1001), after("ops", 0, math.MaxInt32), before("ops", 9, 1001))
	for _, r := range requests {
		_, err := client.ListEvents(t.Context(), r)
		wantCode(t, "ListEvents "+r.String(), err, codes.InvalidArgument)
		stream, err := client.StreamEvents(t.Context(), &historyv1.StreamEventsRequest{Room: r.GetRoom(), After: min(r.GetAfter(), -1)})
		if err == nil {
			_, err = stream.Recv()
		}
		wantCode(t, "StreamEvents "+r.String(), err, codes.InvalidArgument)
	}
	for _, rooms := range [][]string{{""}, {"ops", "a b"}, make([]string, 1001)} {
		_, err := client.ListWatermarks(t.Context(), &historyv1.ListWatermarksRequest{Rooms: rooms})
		wantCode(t, "ListWatermarks", err, codes.InvalidArgument)
	}
	_, err := client.ListWatermarks(t.Context(), &historyv1.ListWatermarksRequest{Rooms: []string{strings.Repeat("x", 1<<20)}})
	wantCode(t, "a request that is too large", err, codes.ResourceExhausted)
	// What is only far away is no mistake.
	for _, r := range []*historyv1.ListEventsRequest{after("ops", math.MaxInt64, 1000), before("ops", math.MaxInt64, 1000)} {
		if _, err := client.ListEvents(t.Context(), r); err != nil {
			t.Errorf("%v: %v", r, err)
		}
	}
}

func FuzzListEvents(f *testing.F) {
	s := &memory{}
	insertAll(f, s, storetest.Events("ops", 1, 50))
	h := persister.NewHistoryServer(s, persister.HistoryOptions{Logger: quiet()})
	f.Add("ops", int64(0), int64(0), int32(10), uint8(1))
	f.Add("ops", int64(-1), int64(math.MaxInt64), int32(-1), uint8(2))
	f.Add("\xff/..", int64(math.MinInt64), int64(0), int32(math.MaxInt32), uint8(0))
	f.Fuzz(func(t *testing.T, room string, a, b int64, limit int32, which uint8) {
		r := &historyv1.ListEventsRequest{Room: room, Limit: limit}
		switch which % 3 {
		case 1:
			r.Cursor = &historyv1.ListEventsRequest_After{After: a}
		case 2:
			r.Cursor = &historyv1.ListEventsRequest_Before{Before: b}
		}
		page, err := h.ListEvents(t.Context(), r)
		if err != nil {
			wantCode(t, r.String(), err, codes.InvalidArgument)
			return
		}
		last := int64(0)
		for _, e := range page.GetEvents() {
			if last != 0 && e.GetSeq() != last+1 || e.GetSeq() > page.GetWatermark() {
				t.Errorf("%v: seq %d after %d, watermark %d", r, e.GetSeq(), last, page.GetWatermark())
			}
			last = e.GetSeq()
		}
	})
}

func TestDatabaseAwayIsUnavailableAndHeals(t *testing.T) {
	t.Parallel()
	px, through, _ := behindProxy(t)
	s := persister.NewPostgres(through)
	client := serve(t, s, persister.HistoryOptions{Poll: 10 * time.Millisecond})
	insertAll(t, s, storetest.Events("ops", 1, 3))
	stream, err := client.StreamEvents(t.Context(), &historyv1.StreamEventsRequest{Room: "ops"})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || len(r.GetEvents()) != 3 {
		t.Fatalf("%v, %v; want three events", r, err)
	}
	px.Refuse(true)
	_, err = client.ListEvents(t.Context(), after("ops", 0, 1))
	wantCode(t, "ListEvents", err, codes.Unavailable)
	_, err = client.ListWatermarks(t.Context(), &historyv1.ListWatermarksRequest{Rooms: []string{"ops"}})
	wantCode(t, "ListWatermarks", err, codes.Unavailable)
	_, err = stream.Recv()
	wantCode(t, "StreamEvents", err, codes.Unavailable)
	if strings.Contains(err.Error(), "127.0.0.1") || strings.Contains(err.Error(), "SQL") {
		t.Errorf("the caller learns the server's insides: %v", err)
	}
	px.Refuse(false)
	if r, err := client.ListEvents(t.Context(), after("ops", 0, 1)); err != nil || r.GetWatermark() != 3 {
		t.Errorf("healed: %v, %v", r, err)
	}
}

// A database that does not answer at all is away as well; a caller that does not wait so long is told its own deadline.
func TestDatabaseThatHangs(t *testing.T) {
	t.Parallel()
	client := serve(t, stuck{}, persister.HistoryOptions{StoreTimeout: 50 * time.Millisecond})
	_, err := client.ListEvents(t.Context(), after("ops", 0, 1))
	wantCode(t, "ListEvents", err, codes.Unavailable)
	slow := serve(t, stuck{}, persister.HistoryOptions{StoreTimeout: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = slow.ListEvents(ctx, after("ops", 0, 1))
	wantCode(t, "ListEvents with a deadline", err, codes.DeadlineExceeded)

	// Who names no deadline gets the server's.
	h := persister.NewHistoryServer(stuck{}, persister.HistoryOptions{Logger: quiet(), StoreTimeout: time.Minute})
	g := persister.NewGRPCServer(persister.GRPCOptions{Logger: quiet(), Deadline: 50 * time.Millisecond})
	h.Register(g)
	bounded, stop := listen(t, g, h.Stop)
	defer stop()
	_, err = bounded.ListEvents(t.Context(), after("ops", 0, 1))
	wantCode(t, "ListEvents under the server's deadline", err, codes.DeadlineExceeded)
}

// stuck answers nothing until its caller gives up.
type stuck struct{ persister.Store }

func (stuck) Page(ctx context.Context, _ persister.PageQuery) (persister.Page, error) {
	<-ctx.Done()
	return persister.Page{}, ctx.Err()
}

func insertAll(tb testing.TB, s persister.Store, evs []events.MessageSent) {
	tb.Helper()
	errs, err := s.Insert(context.Background(), evs)
	if err := errors.Join(append(errs, err)...); err != nil {
		tb.Fatal(err)
	}
}

func wantCode(tb testing.TB, what string, err error, want codes.Code) {
	tb.Helper()
	if got := status.Code(err); got != want {
		tb.Errorf("%s: %v, want %v", what, err, want)
	}
}
