package chatroom

import (
	"context"
	"fmt"
	"maps"

	"google.golang.org/grpc"

	"github.com/rafaeldepontes/go-chat/events"
	historyv1 "github.com/rafaeldepontes/go-chat/proto/history/v1"
)

// grpcHistory is a [History] that the persister serves over gRPC.
type grpcHistory struct {
	client historyv1.HistoryServiceClient
}

// NewGRPCHistory returns the history behind a connection to a persister. Calls wait for a connection that is being made,
// within the bounds of their context.
func NewGRPCHistory(conn grpc.ClientConnInterface) History {
	return &grpcHistory{historyv1.NewHistoryServiceClient(conn)}
}

func (h *grpcHistory) Page(ctx context.Context, room string, after, before int64, limit int) ([]events.MessageSent, error) {
	req := &historyv1.ListEventsRequest{Room: room, Limit: int32(min(limit, 1000))}
	if before > 0 {
		req.Cursor = &historyv1.ListEventsRequest_Before{Before: before}
	} else {
		req.Cursor = &historyv1.ListEventsRequest_After{After: after}
	}
	resp, err := h.client.ListEvents(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("ask the persister for events of %s: %w", room, err)
	}
	out := make([]events.MessageSent, 0, len(resp.GetEvents()))
	for _, e := range resp.GetEvents() {
		out = append(out, events.MessageSent{
			Room: room, Seq: e.GetSeq(), Kind: e.GetKind(), ID: e.GetId(), From: e.GetSender(), Text: e.GetText(),
			SentAt: e.GetSentAt().AsTime(),
		})
	}
	return out, nil
}

// watermarkRooms is how many rooms one request may name.
const watermarkRooms = 1000

func (h *grpcHistory) Watermarks(ctx context.Context, rooms []string) (map[string]int64, error) {
	out := make(map[string]int64, len(rooms))
	for len(rooms) > 0 {
		part := rooms[:min(len(rooms), watermarkRooms)]
		rooms = rooms[len(part):]
		resp, err := h.client.ListWatermarks(ctx, &historyv1.ListWatermarksRequest{Rooms: part})
		if err != nil {
			return nil, fmt.Errorf("ask the persister for watermarks: %w", err)
		}
		maps.Copy(out, resp.GetWatermarks())
	}
	return out, nil
}
