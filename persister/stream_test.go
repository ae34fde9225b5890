package persister_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/rafaeldepontes/go-chat/persister"
	"github.com/rafaeldepontes/go-chat/persister/storetest"
	historyv1 "github.com/rafaeldepontes/go-chat/proto/history/v1"
)

// follow reads a stream up to a seq and fails on a gap, a duplicate or another content.
func follow(ctx context.Context, client historyv1.HistoryServiceClient, room string, after, until int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.StreamEvents(ctx, &historyv1.StreamEventsRequest{Room: room, After: after})
	if err != nil {
		return err
	}
	for next := after + 1; next <= until; {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, e := range received(room, r.GetEvents()) {
			if e != storetest.Event(room, next) || next > r.GetWatermark() {
				return errors.New("not the next event: " + e.ID)
			}
			next++
		}
	}
	return nil
}

// Streams opened before, while and after a room is written all see the same, woken by the announcer in the same process:
// the poll is too slow to help.
func TestStreamFollows(t *testing.T) {
	t.Parallel()
	for name, fresh := range databases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fresh(t)
			const head = 600
			s := db.Open(t)
			p := persister.New(persister.Options{Store: s, Announce: nothing, Logger: quiet(), AnnounceEvery: time.Millisecond})
			stop := running(t, p)
			defer stop()
			client := serve(t, s, persister.HistoryOptions{Watch: p.Watch, Poll: time.Hour})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var readers sync.WaitGroup
			read := func(after int64) {
				readers.Go(func() {
					if err := follow(ctx, client, "ops", after, head); err != nil {
						t.Errorf("stream after %d: %v", after, err)
					}
				})
			}
			read(0)
			read(400) // above what is there
			raw := encoded(t, storetest.Events("ops", 1, head))
			for i := 0; i < head; i += 10 {
				if err := errors.Join(p.Handle(ctx, raw[i:i+10])...); err != nil {
					t.Fatal(err)
				}
				if i%200 == 0 {
					read(0)
					read(int64(i))
				}
			}
			read(0)
			readers.Wait()
		})
	}
}

// What another process stored is found by the poll.
func TestStreamSeesWhatOthersStored(t *testing.T) {
	t.Parallel()
	for name, fresh := range databases() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := fresh(t)
			client := serve(t, db.Open(t), persister.HistoryOptions{Poll: 5 * time.Millisecond})
			other := db.Open(t)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			stream, err := client.StreamEvents(ctx, &historyv1.StreamEventsRequest{Room: "ops"})
			if err != nil {
				t.Fatal(err)
			}
			if r, err := stream.Recv(); err != nil || len(r.GetEvents()) != 0 || r.GetWatermark() != 0 {
				t.Fatalf("first answer: %v, %v; want it empty, at once", r, err)
			}
			for seq := int64(1); seq <= 3; seq++ {
				insertAll(t, other, storetest.Events("ops", seq, seq))
				if r, err := stream.Recv(); err != nil || len(r.GetEvents()) != 1 || r.GetEvents()[0].GetSeq() != seq {
					t.Fatalf("%v, %v; want event %d", r, err, seq)
				}
			}
		})
	}
}

// One who does not read holds up neither others, on the same connection too, nor the storing, nor the end of the server.
func TestSlowStreamHarmsNobody(t *testing.T) {
	t.Parallel()
	s := &memory{}
	p := persister.New(persister.Options{Store: s, Announce: nothing, Logger: quiet(), AnnounceEvery: time.Millisecond})
	stop := running(t, p)
	defer stop()
	h := persister.NewHistoryServer(s, persister.HistoryOptions{Logger: quiet(), Watch: p.Watch})
	g := persister.NewGRPCServer(persister.GRPCOptions{Logger: quiet()})
	h.Register(g)
	client, stopServer := listen(t, g, h.Stop)

	large := storetest.Events("large", 1, 200)
	for i := range large {
		large[i].Text = strings.Repeat("x", 100<<10) // 20 MB: far above what the transport holds for one stream
	}
	insertAll(t, s, large)
	var slow []historyv1.HistoryService_StreamEventsClient
	for range 5 {
		stream, err := client.StreamEvents(t.Context(), &historyv1.StreamEventsRequest{Room: "large"})
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, stream)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reader := make(chan error, 1)
	go func() { reader <- follow(ctx, client, "ops", 0, 500) }()
	raw := encoded(t, storetest.Events("ops", 1, 500))
	for i := 0; i < 500; i += 50 {
		if err := errors.Join(p.Handle(ctx, raw[i:i+50])...); err != nil {
			t.Fatal(err)
		}
		if _, err := client.ListEvents(ctx, after("ops", 0, 10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-reader; err != nil {
		t.Error(err)
	}
	// The slow ones lose nothing either: one of them starts to read.
	next := int64(1)
	for next <= 200 {
		r, err := slow[0].Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range r.GetEvents() {
			if e.GetSeq() != next {
				t.Fatalf("seq %d, want %d", e.GetSeq(), next)
			}
			next++
		}
	}
	stopServer()
}

func TestStopEndsStreams(t *testing.T) {
	t.Parallel()
	s := &memory{}
	h := persister.NewHistoryServer(s, persister.HistoryOptions{Logger: quiet(), Poll: time.Hour, MaxStreams: 2})
	g := persister.NewGRPCServer(persister.GRPCOptions{Logger: quiet()})
	h.Register(g)
	client, stop := listen(t, g, h.Stop)
	open := func() (historyv1.HistoryService_StreamEventsClient, error) {
		stream, err := client.StreamEvents(t.Context(), &historyv1.StreamEventsRequest{Room: "ops"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		return stream, err
	}
	var waiting []historyv1.HistoryService_StreamEventsClient
	for range 2 {
		stream, err := open()
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, stream)
	}
	_, err := open()
	wantCode(t, "one stream too many", err, codes.ResourceExhausted)
	start := time.Now()
	stop()
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("stop took %v with streams that wait, want it at once", took)
	}
	for _, stream := range waiting {
		_, err := stream.Recv()
		wantCode(t, "stream at the stop", err, codes.Unavailable)
	}
}

// A call that panics is answered, and the server goes on.
func TestPanicIsInternal(t *testing.T) {
	t.Parallel()
	s := &memory{}
	client := serve(t, panicking{s}, persister.HistoryOptions{})
	_, err := client.ListEvents(t.Context(), after("ops", 0, 1))
	wantCode(t, "ListEvents", err, codes.Internal)
	stream, err := client.StreamEvents(t.Context(), &historyv1.StreamEventsRequest{Room: "ops"})
	if err == nil {
		_, err = stream.Recv()
	}
	wantCode(t, "StreamEvents", err, codes.Internal)
	if _, err := client.ListWatermarks(t.Context(), &historyv1.ListWatermarksRequest{Rooms: []string{"ops"}}); err != nil {
		t.Errorf("after the panics: %v", err)
	}
}

type panicking struct{ persister.Store }

func (panicking) Page(context.Context, persister.PageQuery) (persister.Page, error) {
	panic("out of luck")
}
