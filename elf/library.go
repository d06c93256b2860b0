package elf

import (
	"io"
	"sync"
	"weak"
)

// ApplicationEntry is the function at which an application begins; one that has none begins at main.
const ApplicationEntry = "app_entry"

// maxLibrary is where the addresses of a library end, which begin at 0: bytes.
const maxLibrary = 64 << 20

// Library is a checked shared library of pVMs.
type Library struct {
	*Dynamic
	Segments []Segment // VA as linked: from 0
	Size     int64     // of the file
	r        io.ReaderAt
	// What it was compared with lately: many programs may get it, one after the other.
	compared recent[comparison, *Changes]
	matched  recent[weak.Pointer[Library], *matches]
	moved    recent[moving, *moved]
}

// recent keeps the last answers to a question. What is kept must not be changed any more, and keys are not what keeps a file in memory.
type recent[K comparable, V any] struct {
	mu      sync.Mutex
	answers []answer[K, V] // the last one first
}

type answer[K comparable, V any] struct {
	key   K
	value V
}

// recents is how many it keeps: an update, and the way back, ask about two libraries in turn.
const recents = 4

// get answers anew only if that was not asked lately, or there was an error.
func (l *recent[K, V]) get(key K, find func() (V, error)) (V, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.answers {
		if l.answers[i].key == key {
			return l.answers[i].value, nil
		}
	}
	v, err := find()
	if err == nil {
		l.answers = append([]answer[K, V]{{key, v}}, l.answers[:min(len(l.answers), recents-1)]...)
	}
	return v, err
}

// ParseLibrary checks a shared library of size bytes. A file that is refused gives an *Error; any other error comes
// from r, which must stay readable as long as the library is linked.
func ParseLibrary(r io.ReaderAt, size int64) (*Library, error) {
	f, err := open(r, size)
	if err != nil {
		return nil, err
	}
	switch f.typ {
	case typeDyn:
	case typeExec:
		return nil, refuse("a program, not a library: link it with kxsh cc -shared")
	default:
		return nil, refuse("ELF type %d, want %d (shared object): link it with kxsh cc -shared", f.typ, typeDyn)
	}
	progs, err := f.progs()
	if err != nil {
		return nil, err
	}
	for _, p := range progs {
		switch p.typ {
		case progInterp:
			return nil, refuse("a Linux program (it names an interpreter): link it with kxsh cc -shared")
		case progTLS:
			return nil, refuse("%s", threadLocal)
		case progRelro:
			return nil, refuse("its tables are to become read-only (RELRO): link it with -Wl,-z,norelro")
		}
	}
	l := &Library{Size: size, r: r}
	if l.Segments, err = segments(progs, libraryArea); err != nil {
		return nil, err
	}
	if l.Dynamic, err = f.findDynamic(progs, l.Segments); err != nil {
		return nil, err
	}
	if l.Dynamic == nil {
		return nil, refuse("no dynamic section: link it with kxsh cc -shared")
	}
	return l, nil
}

// findDynamic reads the dynamic section, or returns nil if there is none.
func (f *file) findDynamic(progs []prog, segs []Segment) (d *Dynamic, err error) {
	for _, p := range progs {
		if p.typ != progDynamic {
			continue
		}
		if d != nil {
			return nil, refuse("two dynamic sections")
		}
		if d, err = f.dynamic(p, segs); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// ReadOnly returns the pages of all segments that nobody can write to, in order, whole ones.
func (l *Library) ReadOnly() (pages []byte, err error) {
	f := file{r: l.r}
	for _, s := range l.Segments {
		if s.Prot&Write != 0 {
			continue
		}
		p, err := f.read(s.Off, s.FileSize)
		if err != nil {
			return nil, err
		}
		at := len(pages) + int(s.VA%PageSize)
		pages = append(pages, make([]byte, s.Pages()*PageSize)...)
		copy(pages[at:], p)
	}
	return pages, nil
}

// IsApplication tells whether it is made for a blank domain only, in which it begins at app_entry.
func (l *Library) IsApplication() bool {
	_, ok := l.Function(ApplicationEntry)
	return ok
}

// Pages is how many pages of addresses the library takes.
func (l *Library) Pages() uint64 {
	last := l.Segments[len(l.Segments)-1]
	return pageUp(last.VA+last.MemSize) / PageSize
}
