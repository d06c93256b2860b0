package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// redisConn is a client's connection to a server.
type redisConn struct {
	net.Conn
	from *bufio.Reader
}

func dialRedis(addr string) (*redisConn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	return &redisConn{c, bufio.NewReader(c)}, nil
}

// answer is the next one: a string, whatever it stands for, nil, or a list of them. An error of the server's is an error.
func (c *redisConn) answer() (any, error) {
	line, err := c.from.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, text := line[0], strings.TrimSuffix(line[1:], "\r\n")
	switch kind {
	case '+', ':':
		return text, nil
	case '-':
		return nil, fmt.Errorf("the server says: %s", text)
	case '$', '*':
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, err
		}
		if kind == '$' {
			b := make([]byte, n+2)
			_, err = io.ReadFull(c.from, b)
			return string(b[:n]), err
		}
		list := make([]any, n)
		for i := range list {
			if list[i], err = c.answer(); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	return nil, fmt.Errorf("no answer: %q", line)
}

// all sends commands together, and returns the last one's answer.
func (c *redisConn) all(commands ...[]string) (last any, err error) {
	var out []byte
	for _, words := range commands {
		out = append(out, request(words...)...)
	}
	c.SetDeadline(time.Now().Add(2 * patience))
	if _, err = c.Write(out); err != nil {
		return nil, err
	}
	for range commands {
		if last, err = c.answer(); err != nil {
			return nil, err
		}
	}
	return last, nil
}

// redisDo has a server do one thing, which works, and returns its answer in words.
func redisDo(t *testing.T, addr string, words ...string) string {
	t.Helper()
	c, err := dialRedis(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := c.all(words)
	if err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	return fmt.Sprint(got)
}

// Each writer writes its values over the same so many keys.
const writerKeys = 200

func writerValue(n int) string { return strings.Repeat(strconv.Itoa(n), 30+n%70) }

// writers write to a server at the same time, each by transactions that count, from where others have ended; so which values there are tells each one's count.
type writers struct {
	stop  atomic.Bool
	count []int // of each, as the server has acknowledged
	all   sync.WaitGroup
}

func startWriters(t *testing.T, addr string, n int) *writers {
	t.Helper()
	w := &writers{count: make([]int, n)}
	for i := range n {
		c, err := dialRedis(addr)
		if err != nil {
			t.Fatal(err)
		}
		before, err := c.all([]string{"GET", fmt.Sprintf("%d:count", i)})
		if err != nil {
			t.Fatal(err)
		}
		w.count[i], _ = strconv.Atoi(fmt.Sprint(before))
		w.all.Go(func() {
			defer c.Close()
			for !w.stop.Load() {
				next := w.count[i] + 1
				_, err := c.all([]string{"MULTI"}, []string{"INCR", fmt.Sprintf("%d:count", i)},
					[]string{"SET", fmt.Sprintf("%d:%d", i, next%writerKeys), writerValue(next)}, []string{"EXEC"})
				if err != nil {
					if !w.stop.Load() {
						t.Errorf("writer %d, %d: %v", i, next, err)
					}
					return
				}
				w.count[i] = next
			}
		})
	}
	return w
}

func (w *writers) end() {
	w.stop.Store(true)
	w.all.Wait()
}

// wrote wants a server to have what n writers had written at some moment, with others keys from DEBUG POPULATE, and nothing else: the writers' counts.
func wrote(t *testing.T, addr string, n, others int) (count []int) {
	t.Helper()
	c, err := dialRedis(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	get := func(key string) string {
		got, err := c.all([]string{"GET", key})
		if err != nil {
			t.Fatal(err)
		}
		if got == nil {
			return ""
		}
		return got.(string)
	}
	keys := others
	for i := range n {
		done, _ := strconv.Atoi(get(fmt.Sprintf("%d:count", i)))
		count = append(count, done)
		if done > 0 {
			keys += min(done, writerKeys) + 1
		}
		for at := max(1, done-writerKeys+1); at <= done; at++ {
			if got := get(fmt.Sprintf("%d:%d", i, at%writerKeys)); got != writerValue(at) {
				t.Errorf("writer %d of %d: %d is %.40q", i, done, at, got)
			}
		}
	}
	const batch = 500
	for i := 0; i < others; i += batch {
		words := []string{"MGET"}
		for k := i; k < min(i+batch, others); k++ {
			words = append(words, fmt.Sprintf("key:%d", k))
		}
		got, err := c.all(words)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range got.([]any) {
			if s, _ := v.(string); !strings.HasPrefix(s, fmt.Sprintf("value:%d", i+k)) {
				t.Errorf("key:%d is %.40q", i+k, v)
			}
		}
	}
	if size, err := c.all([]string{"DBSIZE"}); err != nil || size != strconv.Itoa(keys) {
		t.Errorf("%v keys, %v, want %d", size, err, keys)
	}
	return count
}
