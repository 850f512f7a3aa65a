"""S3: Ceph RGW, AWS, and what speaks the same protocol."""
