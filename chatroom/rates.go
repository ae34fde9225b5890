package chatroom

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// rates limits the sends of each user on this replica, over all his connections: a token bucket each, forgotten when it
// has been full for a while.
type rates struct {
	perS  float64 // 0: no limit
	burst int

	mu    sync.Mutex // guards the fields below
	users map[string]*rate.Limiter
	swept time.Time
}

const ratesSweep = time.Minute

func newRates(perS float64, burst int) *rates {
	return &rates{perS: perS, burst: burst, users: make(map[string]*rate.Limiter)}
}

// take asks for one send; where it is too soon, wait tells when the next one is due.
func (r *rates) take(user string) (wait time.Duration, ok bool) {
	if r.perS <= 0 {
		return 0, true
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.swept) > ratesSweep {
		r.swept = now
		for u, l := range r.users {
			if l.TokensAt(now) >= float64(r.burst) {
				delete(r.users, u)
			}
		}
	}
	l := r.users[user]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(r.perS), r.burst)
		r.users[user] = l
	}
	if l.AllowN(now, 1) {
		return 0, true
	}
	missing := 1 - l.TokensAt(now)
	return time.Duration(missing / r.perS * float64(time.Second)), false
}
