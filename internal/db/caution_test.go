package db_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rafaeldepontes/go-chat/internal/db"
)

func TestCautionLastsASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var c db.Caution
		if c.Warned() {
			t.Error("warned from the beginning")
		}
		c.Warn()
		time.Sleep(999 * time.Millisecond)
		if !c.Warned() {
			t.Error("forgotten too soon")
		}
		c.Warn()
		time.Sleep(999 * time.Millisecond)
		if !c.Warned() {
			t.Error("a second warning does not begin the time again")
		}
		time.Sleep(time.Millisecond)
		if c.Warned() {
			t.Error("still warned after a second")
		}
	})
}
