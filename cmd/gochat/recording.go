package main

import (
	"context"

	"github.com/rafaeldepontes/go-chat/events"
	"github.com/rafaeldepontes/go-chat/events/bus"
	"github.com/rafaeldepontes/go-chat/internal/flightrecorder"
	"github.com/rafaeldepontes/go-chat/outbox"
)

// What a service remembers of its events, for gochat trace: the relay tells each window to the recorder, the persister
// each message of its queue. Neither knows of the other, nor of the recorder.

// publishing records a window that is handed to the broker.
func (a *assembly) publishing(rows []outbox.Row) (settled func(error)) {
	span := a.recorder.Begin(flightrecorder.Publishing, flightrecorder.Turn{}, len(rows), func(i int) (string, int64) {
		return rows[i].Key, rows[i].Seq
	})
	return func(err error) {
		outcome := flightrecorder.Done
		if err != nil {
			outcome = flightrecorder.Failed
		}
		span.End(func(int) (flightrecorder.Outcome, error) { return outcome, err })
	}
}

// turnKey is under what a context has the flightrecorder.Turn of the message that is handled with it.
type turnKey struct{}

// withTurn takes one event's delivery for that of all: they came in one message.
func withTurn(ctx context.Context, d bus.Delivery) context.Context {
	return context.WithValue(ctx, turnKey{}, flightrecorder.Turn{Number: d.Number, Try: d.Try})
}

// handling records events that wait to be stored.
func (a *assembly) handling(ctx context.Context, evs []events.MessageSent) (done func([]error)) {
	turn, _ := ctx.Value(turnKey{}).(flightrecorder.Turn)
	span := a.recorder.Begin(flightrecorder.Delivery, turn, len(evs), func(i int) (string, int64) {
		return evs[i].Room, evs[i].Seq
	})
	return func(errs []error) {
		span.End(func(i int) (flightrecorder.Outcome, error) {
			switch err := errs[i]; {
			case err == nil:
				return flightrecorder.Done, nil
			case events.IsPermanent(err):
				return flightrecorder.Refused, err
			default:
				return flightrecorder.Failed, err
			}
		})
	}
}
