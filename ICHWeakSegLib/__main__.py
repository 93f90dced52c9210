from ICHWeakSegLib.cli import main

main()
