// Package metricstest reads OpenMetrics 1.0 text for tests, and refuses whatever the specification does not allow. Of what
// it allows, timestamps, exemplars and the types that kxsh does not use are refused, too.
package metricstest

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Family is one metric family.
type Family struct {
	Type, Unit, Help string
	Samples          []Sample
}

// Sample is one value. Name is without the family's.
type Sample struct {
	Name   string // "", _total, _info, _bucket, _count or _sum
	Labels map[string]string
	Value  float64
}

// Find returns the value of the sample with that name and these labels, of names and values in turn, among others.
func (f *Family) Find(name string, labels ...string) (float64, bool) {
	if f == nil {
		return 0, false
	}
samples:
	for _, s := range f.Samples {
		if s.Name != name {
			continue
		}
		for i := 0; i < len(labels); i += 2 {
			if s.Labels[labels[i]] != labels[i+1] {
				continue samples
			}
		}
		return s.Value, true
	}
	return 0, false
}

var (
	nameRE   = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	labelRE  = regexp.MustCompile(`^([a-zA-Z][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)`)
	sampleRE = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([-+]?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)$`)
	boundRE  = regexp.MustCompile(`^([0-9]+\.[0-9]+|[0-9]\.?[0-9]*e[-+][0-9]+|\+Inf)$`)
	suffixes = map[string][]string{"gauge": {""}, "counter": {"_total"}, "info": {"_info"}, "histogram": {"_bucket", "_count", "_sum"}}
)

// Parse returns the families by name.
func Parse(text string) (map[string]*Family, error) {
	body, ok := strings.CutSuffix(text, "# EOF\n")
	if !ok {
		return nil, fmt.Errorf("does not end in # EOF")
	}
	p := parser{families: map[string]*Family{}, taken: map[string]bool{}}
	n := 0
	for line := range strings.Lines(body) {
		n++
		if err := p.line(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", n, line, err)
		}
	}
	if err := p.end(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	return p.families, nil
}

type parser struct {
	families map[string]*Family
	taken    map[string]bool // names of families and samples
	name     string          // of the family that lines are about
	family   *Family
	seen     map[string]bool // words of metadata, and samples, of that family
}

func (p *parser) line(line string) error {
	if rest, ok := strings.CutPrefix(line, "# "); ok {
		word, rest, _ := strings.Cut(rest, " ")
		name, value, _ := strings.Cut(rest, " ")
		return p.metadata(word, name, value)
	}
	m := sampleRE.FindStringSubmatch(line)
	if m == nil {
		return fmt.Errorf("neither metadata nor a sample")
	}
	if p.family == nil || !strings.HasPrefix(m[1], p.name) {
		return fmt.Errorf("a sample of no family, or in the middle of another")
	}
	s := Sample{Name: strings.TrimPrefix(m[1], p.name), Labels: map[string]string{}}
	known := false
	for _, suffix := range suffixes[p.family.Type] {
		known = known || suffix == s.Name
	}
	if !known {
		return fmt.Errorf("a %s has no %q", p.family.Type, s.Name)
	}
	if err := s.labels(m[2]); err != nil {
		return err
	}
	var err error
	if s.Value, err = strconv.ParseFloat(m[3], 64); err != nil {
		return err
	}
	if key := fmt.Sprint(s.Name, s.Labels); p.seen[key] {
		return fmt.Errorf("twice")
	} else {
		p.seen[key] = true
	}
	_, le := s.Labels["le"]
	switch {
	case p.family.Type != "gauge" && (s.Value < 0 || math.IsNaN(s.Value)):
		return fmt.Errorf("a %s of %v", p.family.Type, s.Value)
	case p.family.Type == "info" && s.Value != 1:
		return fmt.Errorf("not 1")
	case le != (s.Name == "_bucket"):
		return fmt.Errorf("le is for buckets")
	}
	p.family.Samples = append(p.family.Samples, s)
	return nil
}

func (p *parser) metadata(word, name, value string) error {
	if !nameRE.MatchString(name) {
		return fmt.Errorf("not a name")
	}
	if p.family == nil || name != p.name {
		if err := p.end(); err != nil {
			return fmt.Errorf("before it, %s: %w", p.name, err)
		}
		if p.families[name] != nil {
			return fmt.Errorf("its family was over")
		}
		p.name, p.family, p.seen = name, &Family{}, map[string]bool{}
		p.families[name] = p.family
	}
	if p.seen[word] || len(p.family.Samples) > 0 {
		return fmt.Errorf("twice, or after samples")
	}
	p.seen[word] = true
	switch word {
	case "TYPE":
		if suffixes[value] == nil {
			return fmt.Errorf("no such type")
		}
		p.family.Type = value
		for _, suffix := range suffixes[value] {
			if p.taken[name+suffix] {
				return fmt.Errorf("the name is taken")
			}
			p.taken[name+suffix] = true
		}
	case "UNIT":
		if value == "" || !strings.HasSuffix(name, "_"+value) {
			return fmt.Errorf("the name does not end in its unit")
		}
		p.family.Unit = value
	case "HELP":
		if value == "" {
			return fmt.Errorf("no text")
		}
		p.family.Help = value
	default:
		return fmt.Errorf("no such metadata")
	}
	return nil
}

// labels reads what is between the braces.
func (s *Sample) labels(text string) error {
	for text != "" {
		m := labelRE.FindStringSubmatch(text)
		if m == nil || m[3] == "," && len(text) == len(m[0]) {
			return fmt.Errorf("not labels: %q", text)
		}
		if _, twice := s.Labels[m[1]]; twice {
			return fmt.Errorf("label %s twice", m[1])
		}
		s.Labels[m[1]] = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\n`, "\n").Replace(m[2])
		text = text[len(m[0]):]
	}
	return nil
}

// end checks the family that is over as a whole.
func (p *parser) end() error {
	f := p.family
	switch {
	case f == nil:
		return nil
	case f.Type == "" || f.Help == "":
		return fmt.Errorf("no TYPE or no HELP")
	case f.Unit == "" && (strings.HasSuffix(p.name, "_seconds") || strings.HasSuffix(p.name, "_bytes")):
		return fmt.Errorf("no UNIT")
	case f.Type != "histogram":
		return nil
	}
	// Each histogram is its buckets in ascending order, then its count, then its sum.
	last, bound := -1.0, math.Inf(-1)
	for i, s := range f.Samples {
		switch s.Name {
		case "_bucket":
			le, err := strconv.ParseFloat(s.Labels["le"], 64)
			if err != nil || !boundRE.MatchString(s.Labels["le"]) || le <= bound || s.Value < last {
				return fmt.Errorf("bucket %v after %v: %v", s.Labels, bound, err)
			}
			last, bound = s.Value, le
		case "_count":
			if !math.IsInf(bound, 1) || s.Value != last {
				return fmt.Errorf("a count of %v after %v up to %v", s.Value, last, bound)
			}
		case "_sum":
			if i == 0 || f.Samples[i-1].Name != "_count" {
				return fmt.Errorf("a sum without its count")
			}
			last, bound = -1, math.Inf(-1)
		}
	}
	if bound != math.Inf(-1) {
		return fmt.Errorf("a histogram without its sum")
	}
	return nil
}
