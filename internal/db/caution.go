package db

import (
	"sync/atomic"
	"time"
)

// cautionFor is how long a [Caution] lasts.
const cautionFor = time.Second

// Caution remembers that rows may not be new. A statement for rows that are all new costs the server less than one that
// leaves alone those that are there, and fails as a whole where one is. Whoever sent one row twice sends more of them twice;
// so for a second after a row that was there already nobody takes rows for new. The zero value has no caution.
type Caution struct{ until atomic.Int64 }

// Warn begins the second, or begins it again.
func (c *Caution) Warn() { c.until.Store(time.Now().Add(cautionFor).UnixNano()) }

// Warned tells whether it lasts.
func (c *Caution) Warned() bool { return time.Now().UnixNano() < c.until.Load() }
