package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// All is the name that stands for every benchmark.
const All = "all"

// kind is one benchmark: its name, what it measures in a line, and what the paper has of it.
type kind struct {
	name, short string
	head        string // the name of the series or value that says most in short, or how that of a series ends
	run         func(*Bench, context.Context) error
	paper       paper
}

// paper is the place of a measurement in the paper's evaluation, what is told there, and figures to set beside series of ours, by their names. They are of other machines.
type paper struct {
	where, said string
	figures     map[string]time.Duration
}

// kinds are in the order in which they are run. What the paper tells of only as a curve has no figures here.
var kinds = []kind{
	{"boot", "the start of a pVM, with a blank domain waiting and without; many resident ones", "pVM, pooled", (*Bench).boot, paper{
		"§4.1", "A pVM with a reduced Redis boots in 124 ms, of which 121 are for the domain and its image; MiniOS takes 133 ms, Docker 210. They are set beside the pVM without a pool, xl and crun.",
		map[string]time.Duration{"pVM, unpooled": 124 * time.Millisecond, "xl create": 133 * time.Millisecond, "crun run": 210 * time.Millisecond},
	}},
	{"boot-many", "the start of one pVM after another that all stay", "pVM", (*Bench).many, paper{
		"Figure 5", "The time to boot up to 1000, one after another, of KylinX and of MiniOS grows faster than their number, of Docker in proportion to it. There is a curve and no figure.", nil,
	}},
	{"fork", "fork of 4 MiB to 1 GiB, what copying costs later, and what a child weighs", "first fork: child runs", (*Bench).fork, paper{
		"§4.2", "A pVM with Redis forks in 1.3 ms, a process on Ubuntu in 1, LightVM boots a domain in 4.5. How much memory it had is not told; the figures are set beside the smallest.",
		map[string]time.Duration{"4 MiB, first fork: child runs": 1300 * time.Microsecond, "4 MiB, Linux fork: child runs": time.Millisecond},
	}},
	{"ipc", "pipes, queues, signals, waits and shared memory between members of a family", "message queue, round trip: pVM", (*Bench).ipc, paper{
		"Table 3", "Latencies between a parent and its child, beside Ubuntu's; 232 to 256 µs for the first contact of a pair that is not lineal. A pipe is made, written to and read from; whether the others are one way or a round trip is not told.",
		tableThree(),
	}},
	{"update", "calls of a shared library, and its replacement in a running pVM", "update, all of it", (*Bench).update, paper{
		"Figure 7", "The update of 111 functions and 111 variables of libm takes about 5 ms, of which resolving the functions is the largest part.",
		map[string]time.Duration{"update, all of it": 5 * time.Millisecond},
	}},
	{"memory", "what a shared library costs each of many pVMs", "what 2 MiB of a library add to each pVM but the first", (*Bench).memory, paper{
		"Figure 6", "A pVM with Redis takes less memory than a MiniOS domain or a Docker container with it, as libraries but libc are there once. There is a curve and no figure.", nil,
	}},
	{"recycle", "the start of an application that a placeholder waits for", "pVM, recycled", (*Bench).recycle, paper{
		"§3.3.3, §4.2", "An empty domain waits, and the application is linked into it as an update. No time is told.", nil,
	}},
	{"redis", "Redis and redis-benchmark, one server, and 1 to 8 together", "GET: pVM", (*Bench).redis, paper{
		"Figure 8", "Written keys a second of 1 to 8 servers that wait with select: KylinX, MiniOS and Ubuntu do about the same, nearly in proportion to their number. There is a curve and no figure.", nil,
	}},
	{"web", "two web servers and wrk, one of each, and 1 to 8 together", "httpd: pVM", (*Bench).web, paper{
		"Figure 9", "Requests a second of a server with threads: KylinX answers more than MiniOS and fewer than Ubuntu. There is a curve and no figure.", nil,
	}},
}

// tableThree sets the paper's table 3 beside the series that are nearest.
func tableThree() map[string]time.Duration {
	figures := map[string]time.Duration{"siblings, first contact: pVM": 256 * time.Microsecond}
	for title, µs := range map[string][2]time.Duration{
		"pipe: make, write, read": {55, 54}, "message queue, round trip": {43, 97}, "kill, round trip": {41, 68}, "exit to wait": {43, 95}, "shared memory, futex round trip": {39, 53},
	} {
		figures[title+": pVM"], figures[title+": Linux"] = µs[0]*time.Microsecond, µs[1]*time.Microsecond
	}
	return figures
}

// Names are the benchmarks there are, in the order in which they are run.
func Names() (list []string) {
	for _, k := range kinds {
		list = append(list, k.name)
	}
	return list
}

// About says in a line what each measures, by name.
func About() map[string]string {
	about := map[string]string{All: "each of them, in this order"}
	for _, k := range kinds {
		about[k.name] = k.short
	}
	return about
}

// choose finds those with these names; All is every one.
func choose(names []string) (list []kind, err error) {
	for _, name := range names {
		if name != All && !slices.Contains(Names(), name) {
			return nil, fmt.Errorf("%s: no such benchmark: there is %s, and %s for each of them", name, strings.Join(Names(), ", "), All)
		}
	}
	for _, k := range kinds {
		if slices.Contains(names, k.name) || slices.Contains(names, All) {
			list = append(list, k)
		}
	}
	return list, nil
}
