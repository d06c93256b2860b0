package guest

import _ "embed"

// HTTPD is the source of apps/httpd.c, which is also built for Linux to compare with.
//
//go:embed apps/httpd.c
var HTTPD string
