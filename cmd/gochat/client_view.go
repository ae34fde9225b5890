package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/client"
)

// roomView shows a room line by line, without moving the cursor. The client's goroutine tells it what happens, the
// command's goroutine what the user asks for.
type roomView struct {
	// Immutable.
	w     io.Writer
	room  string
	echo  bool // the terminal shows what the user types: own messages need only their tick
	state func(client.State)

	mu      sync.Mutex // guards the fields below and the writing to w
	self    string
	entered bool // the first joined came
	head    int64
	ready   chan struct{} // closed when the first joined's events were shown
	lowest  int64
	members map[string]bool
	count   int
	stored  int64
	mine    map[string]bool // ids sent here whose event has not come
	ticked  []int64         // own seqs that were shown with one tick
	settled chan struct{}   // capacity 1: mine has become empty
}

func newRoomView(w io.Writer, room, self, server string, echo bool) *roomView {
	v := &roomView{
		w: w, room: room, self: self, echo: echo,
		members: make(map[string]bool), mine: make(map[string]bool), settled: make(chan struct{}, 1), ready: make(chan struct{}),
	}
	v.state = tellStates(v.say, server)
	return v
}

// attach makes the view see what the client sees.
func (v *roomView) attach(o *client.Options) {
	o.OnState = func(s client.State) {
		if s.Connected && s.User != "" {
			v.mu.Lock()
			v.self = s.User
			v.mu.Unlock()
		}
		v.state(s)
	}
	o.OnJoined = v.onJoined
	o.OnEvent = func(_ string, e frame.Event) { v.onEvent(e) }
	o.OnStored = func(_ string, seq int64) { v.onStored(seq) }
	o.OnPresence = v.onPresence
	o.OnRefused = func(_, id string, err *frame.Error) { v.onRefused(id, err) }
	o.OnError = func(e *frame.Error) { v.say("the server says: " + clean(e.Message)) }
}

// say prints one line.
func (v *roomView) say(line string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.printLocked(line)
}

func (v *roomView) printLocked(line string) { fmt.Fprintln(v.w, line) }

func (v *roomView) onJoined(j frame.Joined) {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.members)
	for _, m := range j.Members {
		v.members[m] = true
	}
	v.members[v.self] = true
	v.count = max(j.Count, len(v.members))
	v.stored = j.Stored
	if j.Reset {
		v.lowest, v.ticked = 0, nil
		v.printLocked("the room begins anew on the server; its last messages follow")
	}
	if !v.entered {
		v.entered = true
		v.head = j.Head
		v.printLocked(fmt.Sprintf("you are %s in %s; %s; /help tells the commands", clean(v.self), v.room, v.whoLocked()))
	}
	v.tickLocked()
	v.readyLocked(0)
}

// readyLocked notes that what was said before has been shown, once.
func (v *roomView) readyLocked(seq int64) {
	select {
	case <-v.ready:
	default:
		if seq >= v.head {
			close(v.ready)
		}
	}
}

func (v *roomView) onEvent(e frame.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.lowest == 0 {
		v.lowest = e.Seq
	}
	line := eventLine(e, time.Now())
	own := e.From == v.self
	sentHere := own && v.mine[e.ID]
	switch {
	case sentHere && v.echo:
		v.printLocked(fmt.Sprintf("  ✓ accepted #%d", e.Seq))
	case sentHere:
		v.printLocked(fmt.Sprintf("%s ✓ #%d", line, e.Seq))
	case own && e.Seq <= v.stored:
		v.printLocked(line + " ✓✓")
	case own:
		v.printLocked(line + " ✓")
	default:
		v.printLocked(line)
	}
	if sentHere {
		v.settleLocked(e.ID)
		v.ticked = append(v.ticked, e.Seq)
		v.tickLocked()
	}
	v.readyLocked(e.Seq)
}

func (v *roomView) onStored(seq int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.stored = max(v.stored, seq)
	v.tickLocked()
}

// tickLocked shows the second tick of own messages that are stored by now.
func (v *roomView) tickLocked() {
	n, _ := slices.BinarySearch(v.ticked, v.stored+1)
	if n == 0 {
		return
	}
	v.printLocked("  ✓✓ stored " + seqRange(v.ticked[0], v.ticked[n-1]))
	v.ticked = slices.Delete(v.ticked, 0, n)
}

func (v *roomView) onPresence(p frame.Presence) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, name := range p.Joined {
		if !v.members[name] {
			v.members[name] = true
			if name != v.self {
				v.printLocked("→ " + clean(name) + " joined")
			}
		}
	}
	for _, name := range p.Left {
		if name != v.self && v.members[name] {
			delete(v.members, name)
			v.printLocked("← " + clean(name) + " left")
		}
	}
	v.count = max(0, p.Count)
}

func (v *roomView) onRefused(id string, err *frame.Error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.printLocked("  ✗ not accepted: " + clean(err.Message))
	v.settleLocked(id)
}

// sent notes a message before it goes to the client.
func (v *roomView) sent(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mine[id] = true
}

func (v *roomView) settleLocked(id string) {
	delete(v.mine, id)
	if len(v.mine) == 0 {
		select {
		case v.settled <- struct{}{}:
		default:
		}
	}
}

// unsettled is how many own messages have neither been shown nor refused.
func (v *roomView) unsettled() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.mine)
}

func (v *roomView) who() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.printLocked(v.whoLocked())
}

func (v *roomView) whoLocked() string {
	names := slices.Sorted(maps.Keys(v.members))
	if v.count > len(names) {
		return fmt.Sprintf("%d are here, among them %s", v.count, cleanList(names[:min(10, len(names))]))
	}
	return "here: " + cleanList(names)
}

// before is the place below which nothing was shown yet; ok is false before the first event.
func (v *roomView) before() (seq int64, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lowest, v.lowest > 0
}

// earlier shows a page of history that lies before what was shown.
func (v *roomView) earlier(evs []frame.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(evs) == 0 {
		v.printLocked("nothing is earlier")
		return
	}
	now := time.Now()
	v.printLocked("earlier, " + seqRange(evs[0].Seq, evs[len(evs)-1].Seq) + ":")
	for _, e := range evs {
		v.printLocked(eventLine(e, now))
	}
	v.printLocked("(end of what is earlier)")
	if v.lowest == 0 || evs[0].Seq < v.lowest {
		v.lowest = evs[0].Seq
	}
}
