package metricstest

import "testing"

const head = "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds Of a.\n"

func TestParse(t *testing.T) {
	f, err := Parse(head + "a_seconds_total{x=\"1\",y=\"q\\\"\\\\n\\n\"} 1.5\na_seconds_total{x=\"2\"} 0\n# TYPE b gauge\n# HELP b Of b.\nb -3\n# EOF\n")
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := f["a_seconds"].Find("_total", "y", "q\"\\n\n"); !ok || v != 1.5 {
		t.Errorf("%+v", f["a_seconds"])
	}
	for _, text := range []string{
		"", head + "a_seconds_total 1\n", head + "a_seconds_total 1\n# EOF\n\n", head + "\n# EOF\n", head + "a_seconds_total 1\r\n# EOF\n",
		head + "a_seconds 1\n# EOF\n", head + "a_seconds_total -1\n# EOF\n", head + "a_seconds_total NaN\n# EOF\n", head + "a_seconds_total 1 2\n# EOF\n",
		head + "a_seconds_total 1\na_seconds_total 1\n# EOF\n", head + "a_seconds_total{x=\"1\",} 1\n# EOF\n", head + "a_seconds_total{x=\"1\",x=\"1\"} 1\n# EOF\n",
		head + "a_seconds_total{x=\"\\t\"} 1\n# EOF\n", head + "a_seconds_total{le=\"1.0\"} 1\n# EOF\n", head + head + "# EOF\n", head + "b 1\n# EOF\n",
		"# TYPE a_seconds gauge\n# HELP a_seconds A.\n# EOF\n", "# TYPE a gauge\n# EOF\n", "# HELP a A.\n# EOF\n", "# TYPE a gauge\n# UNIT a seconds\n# HELP a A.\n# EOF\n",
		"# TYPE a info\n# HELP a A.\na_info 2\n# EOF\n", "# TYPE a gauge\n# HELP a A.\n# TYPE a_total gauge\n# HELP a_total A.\na 1\n# EOF\n",
		"# TYPE h histogram\n# HELP h H.\nh_bucket{le=\"1.0\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_count 1\nh_sum 1\n# EOF\n",
		"# TYPE h histogram\n# HELP h H.\nh_bucket{le=\"1.0\"} 2\nh_count 2\nh_sum 1\n# EOF\n",
		"# TYPE h histogram\n# HELP h H.\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 1\n# EOF\n",
		"# TYPE h histogram\n# HELP h H.\nh_bucket{le=\"1.0\"} 2\nh_bucket{le=\"+Inf\"} 2\nh_count 3\nh_sum 1\n# EOF\n",
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("taken: %q", text)
		}
	}
}
