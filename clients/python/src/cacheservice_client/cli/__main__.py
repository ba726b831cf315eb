from cacheservice_client.cli import main

main()
