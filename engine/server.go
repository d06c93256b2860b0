package engine

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Server serves an engine's API as HTTP and JSON on a unix socket, to its own user and root.
type Server struct {
	api     API
	ln      net.Listener
	http    *http.Server
	clients atomic.Int64
	came    atomic.Bool // a client, since Busy was last asked
}

// NewServer makes a server for api on ln; Serve runs it.
func NewServer(api API, ln net.Listener) *Server {
	s := &Server{api: api, ln: ln}
	s.http = &http.Server{
		Handler:     s.routes(),
		ConnContext: withPeer,
		ConnState: func(_ net.Conn, st http.ConnState) {
			switch st {
			case http.StateNew:
				s.clients.Add(1)
				s.came.Store(true)
			case http.StateClosed, http.StateHijacked:
				s.clients.Add(-1)
			}
		},
	}
	return s
}

// Busy tells whether any client is connected, or was since the last call.
func (s *Server) Busy() bool { return s.came.Swap(false) || s.clients.Load() > 0 }

// Serve answers until Close.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// socketLook is how often an engine looks whether its socket is still there.
const socketLook = time.Second

// keep makes the socket anew where somebody has removed it: nobody would reach the engine, nor could start another while it has the state folder.
func (s *Server) keep(ctx context.Context, own *Socket) {
	tick := time.NewTicker(socketLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !own.removed() {
			continue
		}
		if again, err := Listen(own.path); err == nil {
			own = again
			go s.http.Serve(own)
		}
	}
}

// Close removes the socket and lets requests under way finish for a moment.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		return s.http.Close()
	}
	return nil
}

type peerKey struct{}

// withPeer notes who is at the other end (SO_PEERCRED, unix(7)).
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uid := -1
	if uc, ok := c.(*net.UnixConn); ok {
		if raw, err := uc.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) {
				if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
					uid = int(cred.Uid)
				}
			})
		}
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

func (s *Server) routes() http.Handler {
	m := http.NewServeMux()
	get(m, "GET /v1/info", func(r *http.Request) (any, error) { return s.api.Info(r.Context()) })
	m.HandleFunc("GET /v1/pvms", func(w http.ResponseWriter, r *http.Request) {
		snap, err := s.api.Snapshot(r.Context(), r.FormValue("exited") != "")
		if err != nil || r.Header.Get("Accept") != listingType {
			reply(w, snap, err)
			return
		}
		b := encodeListing(snap)
		w.Header().Set("Content-Type", listingType)
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		w.Write(b)
	})
	get(m, "POST /v1/pvms", func(r *http.Request) (any, error) {
		var req RunRequest
		if err := decode(r, &req); err != nil {
			return nil, err
		}
		return s.api.Run(r.Context(), req)
	})
	get(m, "GET /v1/pvms/{pid}", withPID(func(r *http.Request, pid int) (any, error) { return s.api.Inspect(r.Context(), pid) }))
	get(m, "GET /v1/pvms/{pid}/libraries", withPID(func(r *http.Request, pid int) (any, error) { return s.api.Libraries(r.Context(), pid) }))
	get(m, "GET /v1/pvms/{pid}/wait", withPID(func(r *http.Request, pid int) (any, error) { return s.api.Wait(r.Context(), pid) }))
	for path, send := range map[string]func(context.Context, int, int) error{
		"pvms/{pid}/signal": s.api.Signal, "pvms/{pid}/force": s.api.Force, "pvms/{pid}/tree": s.api.SignalTree,
		"families/{pid}/signal": s.api.SignalFamily,
	} {
		get(m, "POST /v1/"+path, withPID(func(r *http.Request, pid int) (any, error) {
			var sig int
			if err := decode(r, &sig); err != nil {
				return nil, err
			}
			return nil, send(r.Context(), pid, sig)
		}))
	}
	get(m, "POST /v1/pvms/{pid}/fork", withPID(func(r *http.Request, pid int) (any, error) {
		var count int
		if err := decode(r, &count); err != nil {
			return nil, err
		}
		pids, err := s.api.Fork(r.Context(), pid, count)
		var own *Error
		if len(pids) > 0 && errors.As(err, &own) {
			return forked{PIDs: pids, Failed: own}, nil
		}
		return forked{PIDs: pids}, err
	}))
	get(m, "POST /v1/pvms/{pid}/limit", withPID(func(r *http.Request, pid int) (any, error) {
		var l Limits
		if err := decode(r, &l); err != nil {
			return nil, err
		}
		return nil, s.api.Limit(r.Context(), pid, l)
	}))
	get(m, "POST /v1/pvms/{pid}/ipc", withPID(func(r *http.Request, pid int) (any, error) {
		var req IPCRequest
		if err := decode(r, &req); err != nil {
			return nil, err
		}
		return s.api.IPC(r.Context(), pid, req)
	}))
	m.HandleFunc("GET /v1/metrics", func(w http.ResponseWriter, r *http.Request) {
		b, err := s.api.Metrics(r.Context())
		if err != nil {
			reply(w, nil, err)
			return
		}
		w.Header().Set("Content-Type", MetricsType)
		w.Write(b)
	})
	get(m, "GET /v1/pool", func(r *http.Request) (any, error) { return s.api.Pool(r.Context()) })
	get(m, "PUT /v1/pool/{kind}", func(r *http.Request) (any, error) {
		var n int
		if err := decode(r, &n); err != nil {
			return nil, err
		}
		return nil, s.api.PoolResize(r.Context(), PoolKind(r.PathValue("kind")), n)
	})
	get(m, "POST /v1/shutdown", func(r *http.Request) (any, error) {
		return nil, s.api.Shutdown(r.Context(), r.FormValue("kill") != "")
	})
	m.HandleFunc("GET /v1/events", s.events)
	m.HandleFunc("POST /v1/pvms/{pid}/update", s.update)
	m.HandleFunc("GET /v1/pvms/{pid}/logs", s.logs)
	m.HandleFunc("POST /v1/pvms/{pid}/attach", s.attach)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if uid := r.Context().Value(peerKey{}).(int); uid != 0 && uid != os.Geteuid() {
			reply(w, nil, errf(CodeDenied, "engine: belongs to %s: name another with --socket", userName(os.Geteuid())))
			return
		}
		m.ServeHTTP(w, r)
	})
}

// get registers a handler that answers with JSON.
func get(m *http.ServeMux, pattern string, f func(*http.Request) (any, error)) {
	m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		reply(w, v, err)
	})
}

func withPID(f func(*http.Request, int) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		pid, err := pidOf(r)
		if err != nil {
			return nil, err
		}
		return f(r, pid)
	}
}

func pidOf(r *http.Request) (int, error) {
	pid, err := strconv.Atoi(r.PathValue("pid"))
	if err != nil {
		return 0, errf(CodeInvalid, "%q: not a PID", r.PathValue("pid"))
	}
	return pid, nil
}

// decode reads a JSON body of at most 4 MiB, more than any argument list.
func decode(r *http.Request, v any) error {
	if err := json.NewDecoder(io.LimitReader(r.Body, 4<<20)).Decode(v); err != nil {
		return errf(CodeInvalid, "request: %v", err)
	}
	return nil
}

// forked is the answer to a fork from outside that made at least one child.
type forked struct {
	PIDs   []int  `json:"pids"`
	Failed *Error `json:"failed,omitempty"` // why there are not as many as were asked for
}

var httpStatus = map[Code]int{
	CodeNoPVM: http.StatusNotFound, CodeNoImage: http.StatusNotFound, CodeBadImage: http.StatusUnprocessableEntity,
	CodeBusy: http.StatusConflict, CodeLimit: http.StatusInsufficientStorage, CodeInvalid: http.StatusBadRequest, CodeUsage: http.StatusBadRequest,
	CodeDenied: http.StatusForbidden, CodeRestricted: http.StatusForbidden, CodeForeign: http.StatusForbidden, CodeEngine: http.StatusServiceUnavailable,
}

func asError(err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		e = errf(CodeInternal, "%v", err)
	}
	return e
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		e := asError(err)
		status := httpStatus[e.Code]
		if status == 0 {
			status = http.StatusInternalServerError
		}
		w.WriteHeader(status)
		v = e
	}
	if v == nil {
		v = struct{}{}
	}
	json.NewEncoder(w).Encode(v)
}

// events answers with a JSON object a line.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	seq, _ := strconv.ParseUint(r.FormValue("seq"), 10, 64)
	er, err := s.api.Events(r.Context(), seq, r.FormValue("follow") != "")
	if err != nil {
		reply(w, nil, err)
		return
	}
	defer er.Close()
	defer context.AfterFunc(r.Context(), func() { er.Close() })()
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	flush.Flush()
	enc := json.NewEncoder(w)
	for {
		ev, err := er.Recv()
		if err != nil || enc.Encode(ev) != nil {
			return
		}
		flush.Flush()
	}
}

// updated is a line of the answer to an update: one of them.
type updated struct {
	Waits  *UpdateWait   `json:"waits,omitempty"`
	Result *UpdateResult `json:"result,omitempty"`
	Failed *Error        `json:"failed,omitempty"`
}

// update answers with a JSON object a line, the last of which says how it ended.
func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	pid, err := pidOf(r)
	var req UpdateRequest
	if err == nil {
		err = decode(r, &req)
	}
	if err != nil {
		reply(w, nil, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	flush := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	result, err := s.api.Update(r.Context(), pid, req, func(wait UpdateWait) {
		enc.Encode(updated{Waits: &wait}) // who does not listen any more ends the request
		flush.Flush()
	})
	if err != nil {
		enc.Encode(updated{Failed: asError(err)})
		return
	}
	enc.Encode(updated{Result: result})
}

// logs answers with frames.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	pid, err := pidOf(r)
	if err != nil {
		reply(w, nil, err)
		return
	}
	o := LogOptions{Follow: r.FormValue("follow") != "", Lines: -1}
	if v := r.FormValue("lines"); v != "" {
		if o.Lines, err = strconv.Atoi(v); err != nil {
			reply(w, nil, errf(CodeInvalid, "lines %q: not a number", v))
			return
		}
	}
	if v := r.FormValue("since"); v != "" {
		if o.Since, err = time.Parse(time.RFC3339Nano, v); err != nil {
			reply(w, nil, errf(CodeInvalid, "since %q: %v", v, err))
			return
		}
	}
	lr, err := s.api.Logs(r.Context(), pid, o)
	if err != nil {
		reply(w, nil, err)
		return
	}
	defer lr.Close()
	defer context.AfterFunc(r.Context(), func() { lr.Close() })()
	w.Header().Set("Content-Type", "application/x-kxsh-frames")
	var flush func()
	if o.Follow {
		rc := http.NewResponseController(w)
		flush = func() { rc.Flush() }
	}
	writeFrame(w, frame{typ: frameLost, data: binary.LittleEndian.AppendUint64(nil, uint64(lr.Lost()))})
	sendChunks(w, lr.Recv, flush)
}

// sendChunks copies chunks into frames until the end, and then says how it ended.
func sendChunks(w io.Writer, recv func() (Chunk, error), flush func()) error {
	for {
		if flush != nil {
			flush()
		}
		c, err := recv()
		if err != nil {
			end := frame{typ: frameEnd}
			if err != io.EOF {
				end.data = []byte(err.Error())
			}
			return writeFrame(w, end)
		}
		if err := writeFrame(w, frame{typ: byte(c.Stream), time: c.Time, data: c.Data}); err != nil {
			return err
		}
	}
}

// attach turns the connection into a stream of frames, both ways.
func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	pid, err := pidOf(r)
	if err != nil {
		reply(w, nil, err)
		return
	}
	var o AttachOptions
	if err := decode(r, &o); err != nil {
		reply(w, nil, err)
		return
	}
	con, err := s.api.Attach(r.Context(), pid, o)
	if err != nil {
		reply(w, nil, err)
		return
	}
	defer con.Close()
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		reply(w, nil, err)
		return
	}
	s.clients.Add(1)
	defer s.clients.Add(-1)
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: kxsh-console\r\n\r\n")
	go func() {
		defer con.Close() // a client that leaves ends the Recv below
		receive(rw.Reader, con)
	}()
	sendChunks(conn, con.Recv, nil)
}

// receive carries out what a client's frames say.
func receive(r *bufio.Reader, con Console) {
	for {
		f, err := readFrame(r)
		if err != nil {
			return
		}
		switch f.typ {
		case frameStdin:
			err = con.Send(f.data)
		case frameEOF:
			err = con.CloseSend()
		case frameResize:
			if len(f.data) == 4 {
				err = con.Resize(int(binary.LittleEndian.Uint16(f.data)), int(binary.LittleEndian.Uint16(f.data[2:])))
			}
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
