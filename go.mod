module kxsh

go 1.26
