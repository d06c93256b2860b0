package netswitch

import "time"

// How a line comes and goes.

// open begins it, as one of the port's.
func (l *line) open() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == lineOpening {
		l.arm()
		l.timing, l.mark, l.markAt = true, l.una, l.waiting
		l.syn()
		l.port.kick()
	}
}

// giveUp ends one that was not answered. It tells whether there was an answer, if only a few words and an end.
func (l *line) giveUp() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == lineOpening {
		l.reset(l.una)
		l.over(true)
		l.port.kick()
	}
	return l.state == lineOpen || l.back.len() > 0
}

// join gives it its socket, which is the line's from here on.
func (l *line) join(fd int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.port.kick()
	l.fd = fd
	switch {
	case fd < 0:
		l.abort()
		return
	case l.state != lineOpen:
		if l.back.len() > 0 {
			sendNow(fd, l.back.bytes())
		}
		closeHost(fd, true)
		return
	}
	if err := l.port.relay.watch(l); err != nil {
		l.port.sw.log.Warn("published port", "port", l.port.ID, "err", err)
		l.abort()
		return
	}
	l.readable = true
	l.flush()
	l.pump()
}

// end is called when the port ends: what the pVM has sent to its end is still delivered, and all others are reset.
func (l *line) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != lineOpen || !l.fin {
		l.flush()
		l.over(true)
		return
	}
	l.orphan = true
	l.disarm()
	time.AfterFunc(drainTime, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.over(true)
	})
	l.flush()
}

// closeIfDone ends a line both of whose directions have ended, or that only had to deliver.
func (l *line) closeIfDone() {
	if l.state == lineOpen && l.shut && (l.orphan || l.finAcked) {
		if l.owed && !l.orphan {
			l.acknowledge()
		}
		l.over(false)
	}
}

// abort resets both sides.
func (l *line) abort() {
	if l.state == lineOpen && !l.orphan {
		l.reset(l.una + uint32(l.most))
	}
	l.over(true)
}

func (l *line) reset(seq uint32) { l.control(flagRST, seq) }

// over ends a line, and resets the socket or closes it.
func (l *line) over(reset bool) {
	if l.state == lineOver {
		return
	}
	l.disarm()
	opening := l.state == lineOpening
	l.state = lineOver
	l.port.forget(l)
	l.port.relay.forget(l)
	l.out = queue{}
	if l.fd >= 0 {
		closeHost(l.fd, reset)
		l.back = queue{}
	} // else join has its last words to say
	l.release()
	if opening {
		close(l.opened)
	}
}
