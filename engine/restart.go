package engine

import (
	"context"
	"time"
)

// Restarts wait longer each time, so that a program that dies at once does not eat the host; one
// that lived restartSettled begins anew.
const (
	restartFirst   = 100 * time.Millisecond
	restartMost    = time.Minute
	restartSettled = 10 * time.Second
)

// restart starts a pVM again if its policy says so. The new one is a new domain with a new PID.
func (e *Engine) restart(p *pvm, r *record) {
	if !wantsRestart(r) {
		return
	}
	before := *r
	if r.Exit.Time.Sub(r.Started) >= restartSettled {
		before.Restarts = 0
	}
	delay := restartDelay(before.Restarts)
	e.mu.Lock()
	closing := e.closing
	if !closing {
		e.running++ // the engine does not leave while a restart is due
	}
	e.mu.Unlock()
	if closing {
		return
	}
	e.tending.Add(1)
	go func() {
		defer e.tending.Done()
		defer func() {
			e.mu.Lock()
			e.running--
			e.mu.Unlock()
		}()
		select {
		case <-time.After(delay):
		case <-e.quit:
			return
		}
		n, err := e.spawn(context.Background(), before.Request, &before)
		if err != nil {
			e.events.addf("refused", &before.Process, "restart: %v", err)
			return
		}
		e.events.addf("restarted", &n.rec.Process, "takes over from %d after %v (restart %d)", before.PID, delay, n.rec.Restarts)
	}()
}

func restartDelay(restarts int) time.Duration {
	d := restartFirst
	for range restarts {
		if d *= 2; d >= restartMost {
			return restartMost
		}
	}
	return d
}

func wantsRestart(r *record) bool {
	if r.Stopped {
		return false
	}
	switch r.Request.Restart.Policy {
	case "always", "unless-stopped":
		return true
	case "on-failure":
		return r.Exit.Code != 0 && (r.Request.Restart.Max == 0 || r.Restarts < r.Request.Restart.Max)
	}
	return false
}
