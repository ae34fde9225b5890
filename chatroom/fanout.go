package chatroom

import (
	"context"
	"log/slog"
	"time"

	"github.com/rafaeldepontes/go-chat/events"
)

const (
	fanoutQueue   = 8192
	fanoutBatch   = 256
	fanoutTimeout = 2 * time.Second
)

// fanout tells the other replicas what happens here. It is best effort by design: a full queue, or a broker that is
// away, drops, and the others repair from the database. So nothing on the way of a message ever waits for it.
type fanout struct {
	broadcast func(ctx context.Context, bodies ...[]byte) error // nil: no other replicas
	log       *slog.Logger
	metrics   *metrics
	queue     chan []byte
}

func newFanout(broadcast func(context.Context, ...[]byte) error, log *slog.Logger, m *metrics) *fanout {
	return &fanout{broadcast: broadcast, log: log, metrics: m, queue: make(chan []byte, fanoutQueue)}
}

// sendEncoded queues an encoded envelope, or drops it. It takes an encoder's two results.
func (f *fanout) sendEncoded(body []byte, err error) {
	if f.broadcast == nil {
		return
	}
	if err != nil {
		f.log.Error("fan-out message not encoded", "error", err)
		return
	}
	select {
	case f.queue <- body:
	default:
		f.metrics.unsent.Inc()
	}
}

// run sends until ctx ends, and then what is queued.
func (f *fanout) run(ctx context.Context) {
	if f.broadcast == nil {
		return
	}
	for {
		select {
		case body := <-f.queue:
			f.flush(ctx, body)
		case <-ctx.Done():
			select {
			case body := <-f.queue:
				f.flush(ctx, body)
			default:
			}
			return
		}
	}
}

func (f *fanout) flush(ctx context.Context, first []byte) {
	bodies := append(make([][]byte, 0, 16), first)
more:
	for len(bodies) < fanoutBatch {
		select {
		case b := <-f.queue:
			bodies = append(bodies, b)
		default:
			break more
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fanoutTimeout)
	defer cancel()
	if err := f.broadcast(ctx, bodies...); err != nil {
		f.metrics.unsent.Add(float64(len(bodies)))
		f.log.Debug("fan-out dropped", "count", len(bodies), "error", err)
	}
}

// HandleFanout takes what another replica, or a persister, told. Only a malformed envelope is an error; it is safe for
// concurrent use and does no I/O.
func (s *Server) HandleFanout(_ context.Context, e events.Envelope) error {
	switch e.Type {
	case events.TypeMessageSent:
		m, err := events.DecodeData[events.MessageSent](e)
		if err != nil {
			return err
		}
		s.hub.add(m.Room, toFrame(m))
	case events.TypeMessagesStored:
		m, err := events.DecodeData[events.MessagesStored](e)
		if err != nil {
			return err
		}
		s.hub.setStored(m.Rooms)
		if s.opts.Stored != nil {
			s.opts.Stored(m.Rooms)
		}
	case events.TypePresenceChanged:
		m, err := events.DecodeData[events.PresenceChanged](e)
		if err != nil {
			return err
		}
		s.presence.changed(m)
	case events.TypeTypingStarted:
		m, err := events.DecodeData[events.TypingStarted](e)
		if err != nil {
			return err
		}
		if m.Instance != s.opts.Instance {
			s.presence.showTyping(m.Room, m.From)
		}
	}
	return nil
}
