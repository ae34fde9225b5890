package persister

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rafaeldepontes/go-chat/events"
	historyv1 "github.com/rafaeldepontes/go-chat/proto/history/v1"
)

// Bounds of requests and answers.
const (
	maxPageEvents     = 1000
	defaultPageEvents = 100
	maxPageBytes      = 1 << 20 // strings; with the encoding around them and one largest event it stays below 4 MiB
	streamPageEvents  = 256
	maxWatermarkRooms = 1000
	maxRoomLength     = 64
)

// HistoryOptions of a [HistoryServer]. Logger is required.
type HistoryOptions struct {
	Logger *slog.Logger
	// Watch wakes streams when a room was stored in this process: [Persister.Watch]. nil: they only poll.
	Watch        func(room string) (woken <-chan struct{}, stop func())
	Poll         time.Duration // how often a stream that waits looks for what other persisters stored; 0: 2 s
	StoreTimeout time.Duration // of one question to the database; 0: 5 s
	MaxStreams   int           // open at once; 0: 1,000
}

// HistoryServer serves a [Store] as history.v1.HistoryService. It has no goroutine of its own.
type HistoryServer struct {
	historyv1.UnimplementedHistoryServiceServer

	// Immutable.
	store Store
	o     HistoryOptions

	streams  atomic.Int64 // open now
	stopOnce sync.Once
	stopping chan struct{}
}

// NewHistoryServer makes a server; [HistoryServer.Register] puts it into a gRPC server.
func NewHistoryServer(store Store, o HistoryOptions) *HistoryServer {
	o.Poll = cmp.Or(o.Poll, 2*time.Second)
	o.StoreTimeout = cmp.Or(o.StoreTimeout, 5*time.Second)
	o.MaxStreams = cmp.Or(o.MaxStreams, 1000)
	if o.Watch == nil {
		o.Watch = func(string) (<-chan struct{}, func()) { return nil, func() {} }
	}
	return &HistoryServer{store: store, o: o, stopping: make(chan struct{})}
}

// Register adds the service to a gRPC server.
func (h *HistoryServer) Register(r grpc.ServiceRegistrar) {
	historyv1.RegisterHistoryServiceServer(r, h)
}

// Stop ends the open streams that wait for events with UNAVAILABLE, so that a graceful stop of the gRPC server can end.
func (h *HistoryServer) Stop() { h.stopOnce.Do(func() { close(h.stopping) }) }

// ListEvents implements history.v1.
func (h *HistoryServer) ListEvents(ctx context.Context, r *historyv1.ListEventsRequest) (*historyv1.ListEventsResponse, error) {
	q, err := pageQuery(r)
	if err != nil {
		return nil, err
	}
	p, err := h.page(ctx, q)
	if err != nil {
		return nil, err
	}
	return &historyv1.ListEventsResponse{Events: protoEvents(p.Events), Watermark: p.Watermark, Complete: p.Complete}, nil
}

// StreamEvents implements history.v1: page after page, then a page whenever the room moved.
func (h *HistoryServer) StreamEvents(r *historyv1.StreamEventsRequest, stream grpc.ServerStreamingServer[historyv1.StreamEventsResponse]) error {
	if err := checkRoom(r.GetRoom()); err != nil {
		return err
	}
	if r.GetAfter() < 0 {
		return status.Errorf(codes.InvalidArgument, "after is %d, want 0 or more", r.GetAfter())
	}
	if h.streams.Add(1) > int64(h.o.MaxStreams) {
		h.streams.Add(-1)
		return status.Error(codes.ResourceExhausted, "too many streams are open")
	}
	defer h.streams.Add(-1)

	woken, stop := h.o.Watch(r.GetRoom()) // before the first page, so that nothing falls between
	defer stop()
	poll := time.NewTicker(h.o.Poll)
	defer poll.Stop()
	q := PageQuery{Room: r.GetRoom(), After: r.GetAfter(), Limit: streamPageEvents, MaxBytes: maxPageBytes}
	for first := true; ; first = false {
		p, err := h.page(stream.Context(), q)
		if err != nil {
			return err
		}
		if n := len(p.Events); n > 0 || first {
			if err := stream.Send(&historyv1.StreamEventsResponse{Events: protoEvents(p.Events), Watermark: p.Watermark}); err != nil {
				return err
			}
			if n > 0 {
				q.After = p.Events[n-1].Seq
			}
		}
		if !p.Complete {
			select {
			case <-h.stopping:
				return errStopping()
			default:
				continue
			}
		}
		select {
		case <-woken:
		case <-poll.C:
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		case <-h.stopping:
			return errStopping()
		}
	}
}

// ListWatermarks implements history.v1. It looks for what is stored but not announced, since who asks has missed an
// announcement.
func (h *HistoryServer) ListWatermarks(ctx context.Context, r *historyv1.ListWatermarksRequest) (*historyv1.ListWatermarksResponse, error) {
	if n := len(r.GetRooms()); n > maxWatermarkRooms {
		return nil, status.Errorf(codes.InvalidArgument, "%d rooms, at most %d are allowed", n, maxWatermarkRooms)
	}
	for _, room := range r.GetRooms() {
		if err := checkRoom(room); err != nil {
			return nil, err
		}
	}
	query, cancel := context.WithTimeout(ctx, h.o.StoreTimeout)
	defer cancel()
	marks, err := h.store.AdvanceWatermarks(query, r.GetRooms())
	if err != nil {
		return nil, h.translate(ctx, err)
	}
	return &historyv1.ListWatermarksResponse{Watermarks: marks}, nil
}

func (h *HistoryServer) page(ctx context.Context, q PageQuery) (Page, error) {
	query, cancel := context.WithTimeout(ctx, h.o.StoreTimeout)
	defer cancel()
	p, err := h.store.Page(query, q)
	if err != nil {
		return Page{}, h.translate(ctx, err)
	}
	return p, nil
}

// translate is the table from the store's errors to status codes. The caller learns no more than it needs.
func (h *HistoryServer) translate(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	if !errors.Is(err, context.Canceled) {
		h.o.Logger.Warn("history store does not answer", "error", err)
	}
	return status.Error(codes.Unavailable, "the history store does not answer")
}

func errStopping() error { return status.Error(codes.Unavailable, "the server is stopping") }

// pageQuery checks a request.
func pageQuery(r *historyv1.ListEventsRequest) (PageQuery, error) {
	q := PageQuery{Room: r.GetRoom(), Limit: int(r.GetLimit()), MaxBytes: maxPageBytes}
	if err := checkRoom(q.Room); err != nil {
		return q, err
	}
	switch {
	case q.Limit == 0:
		q.Limit = defaultPageEvents
	case q.Limit < 0 || q.Limit > maxPageEvents:
		return q, status.Errorf(codes.InvalidArgument, "limit is %d, want 1 to %d", q.Limit, maxPageEvents)
	}
	switch c := r.GetCursor().(type) {
	case nil:
		q.Before = math.MaxInt64
	case *historyv1.ListEventsRequest_After:
		if q.After = c.After; q.After < 0 {
			return q, status.Errorf(codes.InvalidArgument, "after is %d, want 0 or more", q.After)
		}
	case *historyv1.ListEventsRequest_Before:
		if q.Before = c.Before; q.Before < 1 {
			return q, status.Errorf(codes.InvalidArgument, "before is %d, want 1 or more", q.Before)
		}
	}
	return q, nil
}

// checkRoom does not repeat the name in its error: it may be anything.
func checkRoom(room string) error {
	ok := room != "" && len(room) <= maxRoomLength
	for i := 0; ok && i < len(room); i++ {
		c := room[i]
		ok = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return status.Errorf(codes.InvalidArgument, "room: want 1 to %d letters, digits, '.', '_', '-'", maxRoomLength)
	}
	return nil
}

func protoEvents(evs []events.MessageSent) []*historyv1.Event {
	out := make([]*historyv1.Event, len(evs))
	for i, e := range evs {
		out[i] = &historyv1.Event{Seq: e.Seq, Kind: e.Kind, Id: e.ID, Sender: e.From, Text: e.Text, SentAt: timestamppb.New(e.SentAt)}
	}
	return out
}
