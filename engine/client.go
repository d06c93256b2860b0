package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Client talks to an engine through its socket. It implements API.
type Client struct {
	socket string
	start  func(context.Context) error // may be nil
	http   *http.Client
	first  chan net.Conn // the connection that Connect made, until it is used
}

var _ API = (*Client)(nil)

// Connect finds the engine behind socket. start, if not nil, is called when none answers, now or
// after the engine was lost, and must return when one does.
func Connect(ctx context.Context, socket string, start func(context.Context) error) (*Client, error) {
	c := &Client{socket: socket, start: start, first: make(chan net.Conn, 1)}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return c.conn(ctx) },
		DisableCompression: true,
	}}
	conn, err := c.reach(ctx)
	if err != nil {
		return nil, c.unreachable(err)
	}
	c.first <- conn
	return c, nil
}

// find makes sure that an engine answers.
func (c *Client) find(ctx context.Context) error {
	conn, err := c.reach(ctx)
	if err != nil {
		return c.unreachable(err)
	}
	return conn.Close()
}

// conn is a connection to send a request over.
func (c *Client) conn(ctx context.Context) (net.Conn, error) {
	select {
	case conn := <-c.first:
		return conn, nil
	default:
		return c.reach(ctx)
	}
}

// reach connects to the engine, and starts one if there is none: the first, or one after that was lost.
func (c *Client) reach(ctx context.Context) (net.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil && c.start != nil && (errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)) {
		if err := c.start(ctx); err != nil {
			return nil, err
		}
		conn, err = c.dial(ctx)
	}
	return conn, err
}

// brokenOff tells whether err means that the engine went away in the middle of an answer.
func brokenOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// dial connects and checks that the other end is ours to trust: this user's or root's. Root may look
// after anybody's engine.
func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	if err := checkSocket(c.socket); err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, err
	}
	uid := -1
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) {
			if cred, cerr := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); cerr == nil {
				uid = int(cred.Uid)
			}
		})
	}
	if me := os.Geteuid(); uid != 0 && uid != me && me != 0 {
		conn.Close()
		return nil, errf(CodeDenied, "engine: %s: belongs to %s: name another with --socket", c.socket, userName(uid))
	}
	return conn, nil
}

func userName(uid int) string {
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return "user " + u.Username
	}
	return fmt.Sprintf("uid %d", uid)
}

// unreachable says in one line why there is no talking to the engine.
func (c *Client) unreachable(err error) error {
	var own *Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, os.ErrPermission):
		owner := "another user"
		var st unix.Stat_t
		for p := c.socket; p != "/"; p = filepath.Dir(p) { // of the socket, or of the folder that hides it
			if unix.Stat(p, &st) == nil {
				owner = userName(int(st.Uid))
				break
			}
		}
		return errf(CodeDenied, "engine: %s: permission denied: it belongs to %s: name another with --socket", c.socket, owner)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return errf(CodeEngine, "engine: %s: no engine answers: start one with kxsh engine", c.socket)
	}
	if brokenOff(err) {
		return errf(CodeEngine, "engine: %s: it has gone; pVMs go on, and the next command finds them", c.socket)
	}
	return errf(CodeEngine, "engine: %s: %v", c.socket, err)
}

// call makes one request; in and out may be nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		io.Copy(io.Discard, resp.Body)
		return nil
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(body, out)
	}
	return c.cutShort(err)
}

// cutShort says why an answer could not be read.
func (c *Client) cutShort(err error) error {
	switch {
	case err == nil:
		return nil
	case brokenOff(err):
		return c.unreachable(err)
	}
	return errf(CodeEngine, "engine: %s: answer cut short: %v", c.socket, err)
}

// send makes one request and returns an answer that is not an error.
func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	req, err := c.request(ctx, method, path, in)
	if err != nil {
		return nil, err
	}
	return c.do(req)
}

// do sends a request. One that may not be sent twice gets a new connection: over an old one, that its engine's death
// has just ended, nobody could tell whether it arrived.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	if req.Method != "GET" {
		c.http.CloseIdleConnections()
	}
	resp, err := c.http.Do(req)
	if err != nil && req.Method == "GET" && brokenOff(err) {
		// An engine that is being killed still takes connections; its successor will not.
		time.Sleep(reattachPause)
		if err = c.find(ctx); err == nil {
			resp, err = c.http.Do(req)
		}
	}
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, c.refusal(resp)
	}
	return resp, nil
}

func (c *Client) request(ctx context.Context, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	return http.NewRequestWithContext(ctx, method, "http://engine"+path, body)
}

func (c *Client) refusal(resp *http.Response) error {
	e := new(Error)
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(e); err != nil || e.Msg == "" {
		return errf(CodeEngine, "engine: %s: %s: is it another version of kxsh?", c.socket, resp.Status)
	}
	return e
}

func pvmPath(pid int, rest string) string { return "/v1/pvms/" + strconv.Itoa(pid) + rest }

func (c *Client) Info(ctx context.Context) (*Info, error) {
	v := new(Info)
	return v, c.call(ctx, "GET", "/v1/info", nil, v)
}

func (c *Client) Run(ctx context.Context, r RunRequest) (*RunReply, error) {
	v := new(RunReply)
	if err := c.call(ctx, "POST", "/v1/pvms", r, v); err != nil {
		return nil, err
	}
	return v, nil
}

func (c *Client) Snapshot(ctx context.Context, exited bool) (*Snapshot, error) {
	path := "/v1/pvms"
	if exited {
		path += "?exited=1"
	}
	req, err := c.request(ctx, "GET", path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", listingType)
	resp, err := c.do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b := make([]byte, max(resp.ContentLength, 0))
	if _, err := io.ReadFull(resp.Body, b); err != nil {
		return nil, c.cutShort(err)
	}
	v, err := decodeListing(b)
	return v, c.cutShort(err)
}

func (c *Client) Inspect(ctx context.Context, pid int) (*Detail, error) {
	v := new(Detail)
	if err := c.call(ctx, "GET", pvmPath(pid, ""), nil, v); err != nil {
		return nil, err
	}
	return v, nil
}

func (c *Client) Libraries(ctx context.Context, pid int) (v []Library, err error) {
	return v, c.call(ctx, "GET", pvmPath(pid, "/libraries"), nil, &v)
}

func (c *Client) Signal(ctx context.Context, pid, sig int) error {
	return c.call(ctx, "POST", pvmPath(pid, "/signal"), sig, nil)
}

func (c *Client) Fork(ctx context.Context, pid, count int) ([]int, error) {
	var v forked
	if err := c.call(ctx, "POST", pvmPath(pid, "/fork"), count, &v); err != nil {
		return nil, err
	}
	if v.Failed != nil {
		return v.PIDs, v.Failed
	}
	return v.PIDs, nil
}

func (c *Client) Update(ctx context.Context, pid int, r UpdateRequest, waits func(UpdateWait)) (*UpdateResult, error) {
	resp, err := c.send(ctx, "POST", pvmPath(pid, "/update"), r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var line updated
		switch err := dec.Decode(&line); {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err == io.EOF:
			return nil, c.cutShort(io.ErrUnexpectedEOF)
		case err != nil:
			return nil, c.cutShort(err)
		case line.Failed != nil:
			return nil, line.Failed
		case line.Result != nil:
			return line.Result, nil
		case line.Waits != nil && waits != nil:
			waits(*line.Waits)
		}
	}
}

func (c *Client) SignalTree(ctx context.Context, pid, sig int) error {
	return c.call(ctx, "POST", pvmPath(pid, "/tree"), sig, nil)
}

func (c *Client) SignalFamily(ctx context.Context, family, sig int) error {
	return c.call(ctx, "POST", fmt.Sprintf("/v1/families/%d/signal", family), sig, nil)
}

func (c *Client) Force(ctx context.Context, pid, sig int) error {
	return c.call(ctx, "POST", pvmPath(pid, "/force"), sig, nil)
}

// Wait outlives the engine: what it asks for the next one knows.
func (c *Client) Wait(ctx context.Context, pid int) (*Exit, error) {
	v := new(Exit)
	for try := 1; ; try++ {
		err := c.call(ctx, "GET", pvmPath(pid, "/wait"), nil, v)
		if err == nil {
			return v, nil
		}
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeEngine || try > reattachTries {
			return nil, err
		}
		time.Sleep(time.Duration(try-1) * reattachPause)
		if err := c.find(ctx); err != nil {
			return nil, err
		}
	}
}

func (c *Client) Limit(ctx context.Context, pid int, l Limits) error {
	return c.call(ctx, "POST", pvmPath(pid, "/limit"), l, nil)
}

func (c *Client) IPC(ctx context.Context, pid int, r IPCRequest) (*IPCReply, error) {
	v := new(IPCReply)
	if err := c.call(ctx, "POST", pvmPath(pid, "/ipc"), r, v); err != nil {
		return nil, err
	}
	return v, nil
}

func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	resp, err := c.send(ctx, "GET", "/v1/metrics", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return b, c.cutShort(err)
}

func (c *Client) Pool(ctx context.Context) (*Pool, error) {
	v := new(Pool)
	return v, c.call(ctx, "GET", "/v1/pool", nil, v)
}

func (c *Client) PoolResize(ctx context.Context, kind PoolKind, n int) error {
	return c.call(ctx, "PUT", "/v1/pool/"+string(kind), n, nil)
}

func (c *Client) Shutdown(ctx context.Context, kill bool) error {
	path := "/v1/shutdown"
	if kill {
		path += "?kill=1"
	}
	return c.call(ctx, "POST", path, nil, nil)
}

func (c *Client) Close() error {
	select {
	case conn := <-c.first:
		conn.Close()
	default:
	}
	c.http.CloseIdleConnections()
	return nil
}

// recvChunk reads the next chunk; io.EOF where the engine says that this was all.
func recvChunk(r io.Reader) (Chunk, error) {
	f, err := readFrame(r)
	switch {
	case errors.Is(err, io.EOF):
		return Chunk{}, io.ErrUnexpectedEOF
	case err != nil:
		return Chunk{}, err
	case f.typ == frameEnd && len(f.data) == 0:
		return Chunk{}, io.EOF
	case f.typ == frameEnd:
		return Chunk{}, errors.New(string(f.data))
	case f.typ < Stdout || f.typ > Kernel:
		return Chunk{}, fmt.Errorf("console frame of unknown type %d", f.typ)
	}
	return Chunk{Stream: int(f.typ), Time: f.time, Data: f.data}, nil
}

// Attach connects to a console, which survives the engine.
func (c *Client) Attach(ctx context.Context, pid int, o AttachOptions) (Console, error) {
	l := &console{c: c, ctx: ctx, pid: pid, o: o}
	l.moved.L = &l.mu
	if !o.FromStart {
		l.last = time.Now()
	}
	s, err := c.attach(ctx, pid, o)
	if err != nil {
		return nil, err
	}
	l.s = s
	return l, nil
}

// attach takes a connection of its own and turns it into a stream of frames.
func (c *Client) attach(ctx context.Context, pid int, o AttachOptions) (*consoleStream, error) {
	conn, err := c.conn(ctx)
	if err != nil {
		return nil, c.unreachable(err)
	}
	req, err := c.request(ctx, "POST", pvmPath(pid, "/attach"), o)
	if err != nil {
		conn.Close()
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "kxsh-console")
	if err := req.Write(conn); err != nil {
		conn.Close()
		return nil, c.unreachable(err)
	}
	r := bufio.NewReaderSize(conn, 1<<16)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		conn.Close()
		return nil, c.unreachable(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		defer conn.Close()
		return nil, c.refusal(resp)
	}
	return &consoleStream{conn: conn, r: r}, nil
}

// consoleStream is an attached console at the other end of the socket.
type consoleStream struct {
	conn net.Conn
	r    *bufio.Reader
	wmu  sync.Mutex
}

// Recv returns io.EOF where the engine says that this was all, and io.ErrUnexpectedEOF where it has gone.
func (s *consoleStream) Recv() (Chunk, error) { return recvChunk(s.r) }

func (s *consoleStream) write(f frame) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	return writeFrame(s.conn, f)
}

func (s *consoleStream) Send(p []byte) error {
	for len(p) > 0 {
		n := min(len(p), frameMax)
		if err := s.write(frame{typ: frameStdin, data: p[:n]}); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (s *consoleStream) CloseSend() error { return s.write(frame{typ: frameEOF}) }

func (s *consoleStream) Resize(rows, cols int) error {
	b := binary.LittleEndian.AppendUint16(nil, uint16(rows))
	return s.write(frame{typ: frameResize, data: binary.LittleEndian.AppendUint16(b, uint16(cols))})
}

func (s *consoleStream) Close() error { return s.conn.Close() }
