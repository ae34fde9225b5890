package chatroom

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rafaeldepontes/go-chat/chatroom/frame"
	"github.com/rafaeldepontes/go-chat/events"
)

const (
	// presenceEvery is the least time between two rounds of telling who came and left; what happens between is told
	// together.
	presenceEvery = 100 * time.Millisecond
	// Each replica tells its whole state every presenceFull, more often after its start, and is forgotten when it was
	// silent for presenceGone.
	presenceFirst = 250 * time.Millisecond
	presenceFull  = 10 * time.Second
	presenceGone  = 30 * time.Second
	presenceYoung = 4 * time.Second // it has asked four times by then
	// typingEvery is how often one user's typing in one room is told.
	typingEvery = time.Second
	typingQueue = 16
)

type users map[string]struct{}

// presence knows who is in which room, here and on the other replicas. It is eventually right: replicas tell changes at
// once and all they have every few seconds, so that a lost message heals.
type presence struct {
	instance string
	hub      *hub
	send     func(body []byte, err error) // to the other replicas, best effort
	since    time.Time
	wake     chan struct{}

	mu      sync.Mutex                // guards the fields below; nothing is called under it
	local   map[string]map[string]int // room → user → sessions
	remote  map[string]*replica
	told    map[string]users // what the readers of a room here know
	dirty   users            // rooms whose members may have changed
	outward users            // rooms whose local members changed
	typed   map[[2]string]time.Time
}

type replica struct {
	seen  time.Time
	rooms map[string]users
}

// presenceDelta is what a subscription has not been told yet. Guarded by its session's mu.
type presenceDelta struct {
	joined, left users
	count        int
}

func newPresence(instance string, h *hub, send func([]byte, error)) *presence {
	return &presence{
		instance: instance, hub: h, send: send, since: time.Now(), wake: make(chan struct{}, 1),
		local: make(map[string]map[string]int), remote: make(map[string]*replica), told: make(map[string]users),
		dirty: make(users), outward: make(users), typed: make(map[[2]string]time.Time),
	}
}

// hasPeers tells whether there may be other replicas: one is known, or this one is too young to have heard of all. Events
// are not sent to nobody: a broker's message costs more than all else on their way.
func (p *presence) hasPeers() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.remote) > 0 || time.Since(p.since) < presenceYoung
}

// enter and exit count a user's sessions in a room.
func (p *presence) enter(room, user string) { p.count(room, user, 1) }
func (p *presence) exit(room, user string)  { p.count(room, user, -1) }

func (p *presence) count(room, user string, by int) {
	p.mu.Lock()
	m := p.local[room]
	if m == nil {
		m = make(map[string]int)
		p.local[room] = m
	}
	before := m[user]
	m[user] += by
	if m[user] <= 0 {
		delete(m, user)
	}
	if len(m) == 0 {
		delete(p.local, room)
	}
	if changed := (before > 0) != (before+by > 0); changed {
		p.dirty[room], p.outward[room] = struct{}{}, struct{}{}
	}
	p.mu.Unlock()
	p.signal()
}

func (p *presence) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// members returns up to frame.MembersListed names, sorted, and the count of all. Of more members it lists any: a join must
// not cost as much as the room is large.
func (p *presence) members(room string) (names []string, count int) {
	p.mu.Lock()
	here, elsewhere := p.local[room], false
	for _, r := range p.remote {
		elsewhere = elsewhere || len(r.rooms[room]) > 0
	}
	if elsewhere {
		all := p.unionLocked(room)
		names, count = some(maps.Keys(all)), len(all)
	} else {
		names, count = some(maps.Keys(here)), len(here)
	}
	p.mu.Unlock()
	slices.Sort(names)
	return names, count
}

// some returns at most frame.MembersListed of the names.
func some(all iter.Seq[string]) []string {
	names := []string{} // in JSON a list, also without members
	for name := range all {
		if len(names) == frame.MembersListed {
			break
		}
		names = append(names, name)
	}
	return names
}

func (p *presence) unionLocked(room string) users {
	all := make(users)
	for u := range p.local[room] {
		all[u] = struct{}{}
	}
	for _, r := range p.remote {
		for u := range r.rooms[room] {
			all[u] = struct{}{}
		}
	}
	return all
}

// typing tells a room that a user here types.
func (p *presence) typing(room, user string) {
	now := time.Now()
	key := [2]string{room, user}
	p.mu.Lock()
	tooSoon := now.Sub(p.typed[key]) < typingEvery
	if !tooSoon {
		p.typed[key] = now
	}
	p.mu.Unlock()
	if tooSoon {
		return
	}
	p.showTyping(room, user)
	p.send(events.TypingStarted{Room: room, From: user, Instance: p.instance}.Encode(newID(), now.UTC()))
}

func (p *presence) showTyping(room, user string) {
	r := p.hub.get(room)
	if r == nil {
		return
	}
	for _, sub := range r.subscriptions() {
		s := sub.session
		if s.user == user {
			continue
		}
		s.mu.Lock()
		if sub.cursor != nil && len(s.typing) < typingQueue {
			s.typing = append(s.typing, frame.Typing{Type: frame.TypeTyping, Room: room, From: user})
		}
		s.mu.Unlock()
		s.wake()
	}
}

// run tells changes until ctx ends, then that this replica is gone.
func (p *presence) run(ctx context.Context) {
	p.sendFull(true)
	// More often at first: the broker may not be connected yet, and until the others know of this replica they do not
	// send it their events.
	every := presenceFirst
	full := time.NewTimer(every)
	defer full.Stop()
	for {
		select {
		case <-ctx.Done():
			p.send(events.PresenceChanged{Instance: p.instance, Gone: true}.Encode(newID(), time.Now().UTC()))
			return
		case now := <-full.C:
			p.expire(now)
			p.sendFull(every < presenceFull)
			p.flush()
			every = min(2*every, presenceFull)
			full.Reset(every)
		case <-p.wake:
			p.flush()
			select {
			case <-time.After(presenceEvery):
			case <-ctx.Done():
			}
		}
	}
}

// flush tells the readers here what changed, and the other replicas what changed here.
func (p *presence) flush() {
	type change struct {
		joined, left []string
		count        int
	}
	changes := make(map[string]change)
	outward := make(map[string][]string)
	p.mu.Lock()
	for room := range p.dirty {
		now, told := p.unionLocked(room), p.told[room]
		c := change{count: len(now)}
		for u := range now {
			if _, ok := told[u]; !ok {
				c.joined = append(c.joined, u)
			}
		}
		for u := range told {
			if _, ok := now[u]; !ok {
				c.left = append(c.left, u)
			}
		}
		if len(p.local[room]) > 0 {
			p.told[room] = now
		} else {
			delete(p.told, room)
		}
		if len(c.joined)+len(c.left) > 0 {
			changes[room] = c
		}
	}
	for room := range p.outward {
		outward[room] = slices.Sorted(maps.Keys(p.local[room]))
	}
	clear(p.dirty)
	clear(p.outward)
	p.mu.Unlock()

	for room, c := range changes {
		r := p.hub.get(room)
		if r == nil {
			continue
		}
		for _, sub := range r.subscriptions() {
			s := sub.session
			s.mu.Lock()
			if sub.presence == nil {
				sub.presence = &presenceDelta{joined: make(users), left: make(users)}
			}
			sub.presence.merge(c.joined, c.left, c.count)
			s.markDirtyLocked(sub)
			s.mu.Unlock()
		}
		r.wake()
	}
	if len(outward) > 0 {
		p.send(events.PresenceChanged{Instance: p.instance, Rooms: outward}.Encode(newID(), time.Now().UTC()))
	}
}

func (d *presenceDelta) merge(joined, left []string, count int) {
	d.count = count
	if count > frame.MembersListed {
		clear(d.joined)
		clear(d.left)
		return
	}
	for _, u := range joined {
		delete(d.left, u)
		d.joined[u] = struct{}{}
	}
	for _, u := range left {
		delete(d.joined, u)
		d.left[u] = struct{}{}
	}
}

func (d *presenceDelta) frame(room string) frame.Presence {
	f := frame.Presence{Type: frame.TypePresence, Room: room, Count: d.count}
	if d.count <= frame.MembersListed {
		f.Joined = slices.AppendSeq([]string{}, maps.Keys(d.joined))
		f.Left = slices.AppendSeq([]string{}, maps.Keys(d.left))
		slices.Sort(f.Joined)
		slices.Sort(f.Left)
	}
	return f
}

// sendFull tells all that this replica has, and may ask the others to do the same.
func (p *presence) sendFull(ask bool) {
	p.mu.Lock()
	rooms := make(map[string][]string, len(p.local))
	for room, m := range p.local {
		rooms[room] = slices.Sorted(maps.Keys(m))
	}
	p.mu.Unlock()
	p.send(events.PresenceChanged{Instance: p.instance, Full: true, Ask: ask, Rooms: rooms}.Encode(newID(), time.Now().UTC()))
}

// expire forgets replicas that were silent for too long, and who typed long ago.
func (p *presence) expire(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, r := range p.remote {
		if now.Sub(r.seen) > presenceGone {
			p.forgetLocked(name, r)
		}
	}
	maps.DeleteFunc(p.typed, func(_ [2]string, at time.Time) bool { return now.Sub(at) > typingEvery })
}

func (p *presence) forgetLocked(name string, r *replica) {
	for room := range r.rooms {
		p.dirty[room] = struct{}{}
	}
	delete(p.remote, name)
}

// changed takes what another replica told.
func (p *presence) changed(c events.PresenceChanged) {
	if c.Instance == p.instance {
		return
	}
	p.mu.Lock()
	r := p.remote[c.Instance]
	if r == nil {
		r = &replica{rooms: make(map[string]users)}
		p.remote[c.Instance] = r
	}
	r.seen = time.Now()
	switch {
	case c.Gone:
		p.forgetLocked(c.Instance, r)
	case c.Full:
		for room := range r.rooms {
			p.dirty[room] = struct{}{}
		}
		clear(r.rooms)
	}
	for room, names := range c.Rooms {
		set := make(users, len(names))
		for _, u := range names {
			set[u] = struct{}{}
		}
		if len(set) > 0 {
			r.rooms[room] = set
		} else {
			delete(r.rooms, room)
		}
		p.dirty[room] = struct{}{}
	}
	p.mu.Unlock()
	p.signal()
	if c.Ask {
		p.sendFull(false)
	}
}
