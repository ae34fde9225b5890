package frame_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
)

func TestParseAnswersBadInputWithItsCode(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", frame.MaxText+1)
	for name, tc := range map[string]struct {
		in   string
		want frame.Code
		id   string
	}{
		"not json":               {`hello`, frame.BadRequest, ""},
		"empty":                  {``, frame.BadRequest, ""},
		"array":                  {`[1,2]`, frame.BadRequest, ""},
		"null":                   {`null`, frame.BadRequest, ""},
		"two objects":            {`{"type":"join","room":"a"}{}`, frame.BadRequest, ""},
		"no type":                {`{"id":"1"}`, frame.BadRequest, "1"},
		"type is a number":       {`{"type":7,"id":"1"}`, frame.BadRequest, "1"},
		"unknown type":           {`{"type":"dance","id":"1"}`, frame.UnknownType, "1"},
		"read comes later":       {`{"type":"read","room":"a","seq":1}`, frame.UnknownType, ""},
		"id is a number":         {`{"type":"join","id":1,"room":"a"}`, frame.BadRequest, ""},
		"id is empty":            {`{"type":"join","id":"","room":"a"}`, frame.BadRequest, ""},
		"id is too long":         {`{"type":"join","id":"` + strings.Repeat("é", 65) + `","room":"a"}`, frame.BadRequest, ""},
		"no room":                {`{"type":"join","id":"1"}`, frame.BadRequest, "1"},
		"room is a number":       {`{"type":"join","id":"1","room":5}`, frame.BadRequest, "1"},
		"room with a space":      {`{"type":"join","id":"1","room":"a b"}`, frame.BadRequest, "1"},
		"room with a line break": {`{"type":"join","id":"1","room":"a\n"}`, frame.BadRequest, "1"},
		"room too long":          {`{"type":"join","id":"1","room":"` + strings.Repeat("r", 65) + `"}`, frame.BadRequest, "1"},
		"after negative":         {`{"type":"join","id":"1","room":"a","after":-1}`, frame.BadRequest, "1"},
		"after fraction":         {`{"type":"join","id":"1","room":"a","after":1.5}`, frame.BadRequest, "1"},
		"after out of range":     {`{"type":"join","id":"1","room":"a","after":9223372036854775808}`, frame.BadRequest, "1"},
		"after a string":         {`{"type":"join","id":"1","room":"a","after":"3"}`, frame.BadRequest, "1"},
		"send without id":        {`{"type":"send","room":"a","text":"x"}`, frame.BadRequest, ""},
		"send without text":      {`{"type":"send","id":"1","room":"a"}`, frame.BadRequest, "1"},
		"text of white space":    {`{"type":"send","id":"1","room":"a","text":" \n\t"}`, frame.BadRequest, "1"},
		"text too long":          {`{"type":"send","id":"1","room":"a","text":"` + long + `"}`, frame.TooLarge, "1"},
		"text with NUL":          {`{"type":"send","id":"1","room":"a","text":"a\u0000b"}`, frame.BadRequest, "1"},
		"half a surrogate pair":  {`{"type":"send","id":"1","room":"a","text":"a\ud800b"}`, frame.BadRequest, "1"},
		"invalid UTF-8":          {"{\"type\":\"send\",\"id\":\"1\",\"room\":\"a\",\"text\":\"\xff\"}", frame.BadRequest, "1"},
		"history both":           {`{"type":"history","id":"1","room":"a","after":1,"before":2,"limit":1}`, frame.BadRequest, "1"},
		"history neither":        {`{"type":"history","id":"1","room":"a","limit":1}`, frame.BadRequest, "1"},
		"history no limit":       {`{"type":"history","id":"1","room":"a","after":1}`, frame.BadRequest, "1"},
		"history limit 0":        {`{"type":"history","id":"1","room":"a","after":1,"limit":0}`, frame.BadRequest, "1"},
		"history limit negative": {`{"type":"history","id":"1","room":"a","after":1,"limit":-5}`, frame.BadRequest, "1"},
		"history limit huge":     {`{"type":"history","id":"1","room":"a","after":1,"limit":201}`, frame.BadRequest, "1"},
		"history limit no int":   {`{"type":"history","id":"1","room":"a","after":1,"limit":99999999999999999999}`, frame.BadRequest, "1"},
		"history no id":          {`{"type":"history","room":"a","after":1,"limit":1}`, frame.BadRequest, ""},
		"frame too large":        {`{"type":"` + strings.Repeat("x", frame.MaxFrame) + `"}`, frame.TooLarge, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := frame.Parse([]byte(tc.in))
			if err == nil {
				t.Fatalf("Parse(%.80s): got no error, want %s", tc.in, tc.want)
			}
			if err.Code != tc.want || err.ID != tc.id || err.Message == "" {
				t.Errorf("Parse(%.80s): got %+v, want code %s, id %q", tc.in, err, tc.want, tc.id)
			}
			if got, want := err.Retry, tc.want.Retry(); got != want {
				t.Errorf("retry: got %v, want %v", got, want)
			}
		})
	}
}

func TestParseAcceptsWhatTheProtocolAllows(t *testing.T) {
	t.Parallel()
	after, limit := int64(41), 200
	for in, want := range map[string]frame.Client{
		`{"type":"hello","name":"ann","client":"x/1"}`:                                    {Type: "hello", Name: "ann", Agent: "x/1"},
		`{"type":"join","id":"1","room":"ops","after":41,"epoch":"e3f","new":[]}`:         {Type: "join", ID: "1", Room: "ops", After: &after, Epoch: "e3f"},
		`{"type":"join","room":"ops","after":null}`:                                       {Type: "join", Room: "ops"},
		`{"type":"leave","room":"a.b-c_D"}`:                                               {Type: "leave", Room: "a.b-c_D"},
		`{"type":"send","id":"é","room":"a","text":"<b>\ud83d\ude00</b>"}`:                {Type: "send", ID: "é", Room: "a", Text: "<b>😀</b>"},
		`{"type":"history","id":"h","room":"a","after":41,"limit":200}`:                   {Type: "history", ID: "h", Room: "a", After: &after, Limit: &limit},
		`{"type":"send","id":"c","ID":"d","room":"a","Room":"b","text":"x","TEXT":"y"}`:   {Type: "send", ID: "c", Room: "a", Text: "x"},
		`{"type":"send","id":"c","room":"a","text":"x","before":"x","limit":{},"name":7}`: {Type: "send", ID: "c", Room: "a", Text: "x"},
		`{"type":"typing","room":"a"}`:                                                    {Type: "typing", Room: "a"},
	} {
		got, err := frame.Parse([]byte(in))
		if err != nil {
			t.Errorf("Parse(%s): %v", in, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Parse(%s): (-want +got)\n%s", in, diff)
		}
	}
}

func TestAppendEventsIsTheEventsFrame(t *testing.T) {
	t.Parallel()
	evs := []frame.Event{
		{Seq: 1, Kind: "message", ID: "a", From: "ann", SentAt: time.UnixMilli(1767366245678).UTC(), Text: "<&> \"q\"\u2028"},
		{Seq: 2, Kind: "message", ID: "b", From: "bob", SentAt: time.UnixMilli(0).UTC(), Text: "é"},
	}
	encoded := make([][]byte, 0, len(evs))
	for _, e := range evs {
		encoded = append(encoded, frame.Encode(e))
	}
	want := string(frame.Encode(frame.Events{Type: frame.TypeEvents, Room: "ops", Events: evs}))
	if got := string(frame.AppendEvents(nil, "ops", encoded)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// FuzzParse: whatever comes, Parse neither panics nor returns a frame outside the bounds, and its error can be encoded.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"type":"send","id":"1","room":"a","text":"x"}`))
	f.Add([]byte(`{"type":"history","id":"1","room":"a","before":1,"limit":200}`))
	f.Add([]byte(`{"type":"hello","name":"ann"}`))
	f.Add([]byte("\xff\x00[{"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c, err := frame.Parse(in)
		if err != nil {
			if !json.Valid(frame.Encode(err)) {
				t.Errorf("error frame is not JSON: %q", frame.Encode(err))
			}
			return
		}
		if c.Type != frame.TypeHello && !frame.ValidRoom(c.Room) {
			t.Errorf("room %q let through", c.Room)
		}
		if c.Type == frame.TypeSend && (c.ID == "" || len(c.Text) > frame.MaxText || strings.TrimSpace(c.Text) == "") {
			t.Errorf("send let through: %+v", c)
		}
	})
}
