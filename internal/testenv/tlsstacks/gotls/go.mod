module github.com/ambit-nhi/ambit/internal/testenv/tlsstacks/gotls

go 1.21
